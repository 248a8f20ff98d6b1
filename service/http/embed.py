"""Makes one C file of files that the program carries in itself: embed.py OUT.c VERSION PATH|TYPE|FILE..."""

import hashlib
import sys


def literal(data):
    lines = []
    for at in range(0, len(data), 20):
        lines.append("    " + "".join(f"{byte}," for byte in data[at:at + 20]))
    return "\n".join(lines)


def main():
    out, version, *assets = sys.argv[1:]
    parts = ['#include "service/http/assets.h"\n']
    table = []
    for number, asset in enumerate(assets):
        path, kind, file = asset.split("|")
        with open(file, "rb") as f:
            data = f.read().replace(b"@VERSION@", version.encode())
        etag = hashlib.sha256(data).hexdigest()[:16]
        parts.append(f"static const unsigned char asset_{number}[] = {{\n{literal(data)}\n}};\n")
        table.append(f'    {{"{path}", "{kind}", "\\"{etag}\\"", asset_{number}, {len(data)}}},')
    parts.append("const bs_asset bs_assets[] = {\n" + "\n".join(table) + "\n};")
    parts.append(f"const int bs_assets_count = {len(table)};\n")
    with open(out, "w", encoding="ascii") as f:
        f.write("\n".join(parts))


main()
