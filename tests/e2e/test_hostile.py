#!/usr/bin/env python3
"""Files made to take more than they should: refused in one sentence, within the limit, with nothing left behind."""
import os
import pathlib
import re
import struct
import zlib

import kit

LIMIT_MB = 64
GIGABYTE = 1 << 30
BOTH = ("probe", "process")


# -- files made by hand ------------------------------------------------------------------------------------

def box(kind, *content, size=None):
    """A box of an ISO file (ISO/IEC 14496-12), with its own or a claimed size."""
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def table(kind, *numbers):
    """A box of a version, flags and numbers."""
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
MVHD = box(b"mvhd", bytes(12), struct.pack(">II", 1000, 1000), bytes(80))


def entry(codec, width, height):
    return box(codec, bytes(6), b"\0\1", bytes(16), struct.pack(">HH", width, height), b"\0H\0\0\0H\0\0", bytes(4), b"\0\1", bytes(32),
               b"\0\x18\xff\xff")


def trak(samples=10, codec=b"avc1", size=(320, 240), edits=0, sizes=None):
    edit_list = box(b"edts", box(b"elst", bytes(4), struct.pack(">I", edits), struct.pack(">IIHH", 1000, 0, 1, 0) * edits)) if edits else b""
    tables = (table(b"stts", 1, samples, 10), table(b"stsc", 1, 1, samples, 1), sizes or table(b"stsz", 1, samples), table(b"stco", 1, 40))
    return box(b"trak", box(b"tkhd", bytes(12), struct.pack(">III", 1, 0, 1000), bytes(60)), edit_list,
               box(b"mdia", table(b"mdhd", 0, 0, 1000, 1000, 0), box(b"hdlr", bytes(8), b"vide", bytes(13)),
                   box(b"minf", box(b"stbl", box(b"stsd", bytes(4), struct.pack(">I", 1), entry(codec, *size)), *tables))))


def mp4(*moov):
    return FTYP + box(b"moov", MVHD, *moov)


def element(name, *content, size=None):
    """An element of Matroska (RFC 8794), its size in eight bytes."""
    body = b"".join(content)
    return bytes.fromhex(name) + (1 << 56 | (len(body) if size is None else size)).to_bytes(8, "big") + body


def mkv(*segment):
    return element("1a45dfa3", element("4282", b"matroska")) + element("18538067", *segment)


TRACK = element("ae", element("d7", b"\1"), element("83", b"\1"))


def chunk(kind, *content, size=None):
    """A chunk of a RIFF file."""
    body = b"".join(content)
    return kind + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) & 1)


def avi(streams, info=b""):
    strl = chunk(b"LIST", b"strl", chunk(b"strh", b"vidsmp4v", struct.pack("<IHHIIIIIIII4h", 0, 0, 0, 0, 1, 25, 0, 10, 0, 0, 0, 0, 0, 320, 240)),
                 chunk(b"strf", struct.pack("<IiiHH4sIiiII", 40, 320, 240, 1, 24, b"mp4v", 0, 0, 0, 0, 0)))
    avih = chunk(b"avih", struct.pack("<14I", 40000, 0, 0, 16, 10, 0, streams, 0, 320, 240, 0, 0, 0, 0))
    return chunk(b"RIFF", b"AVI ", chunk(b"LIST", b"hdrl", avih, strl * streams), info, chunk(b"LIST", b"movi"))


def section(pid, kind, number, content):
    """A table of a transport stream (ISO/IEC 13818-1, 2.4.4) in one packet."""
    body = struct.pack(">HBBB", number, 0xc1, 0, 0) + content
    body = bytes([kind]) + struct.pack(">H", 0xb000 | len(body) + 4) + body
    crc = 0xffffffff
    for byte in body:
        for bit in range(8):
            crc = (crc << 1 ^ (0x04c11db7 if (crc >> 31 ^ byte >> (7 - bit)) & 1 else 0)) & 0xffffffff
    packet = b"\x47" + struct.pack(">H", 0x4000 | pid) + b"\x10\0" + body + struct.pack(">I", crc)
    return packet.ljust(188, b"\xff")


def transport_stream(programs, streams):
    """So many programs, each with so many streams of H.264."""
    pids = iter(range(32, 8191))
    tables = []
    for program in range(programs):
        pmt = next(pids)
        tables.append(section(0, 0, 1, struct.pack(">HH", program + 1, 0xe000 | pmt)))
        tables.append(section(pmt, 2, program + 1, struct.pack(">HH", 0xffff, 0xf000) +
                              b"".join(struct.pack(">BHH", 0x1b, 0xe000 | next(pids), 0xf000) for _ in range(streams))))
    return b"".join(tables) * 4


def png(width, height, *chunks):
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", width, height, 8, 2, 0, 0, 0, 0) + b"".join(chunks)


def jpeg(width, height):
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1" + b"\xff\xda" + bytes(200)


def webp(width, height):
    canvas = chunk(b"VP8X", bytes(4), (width - 1).to_bytes(3, "little"), (height - 1).to_bytes(3, "little"))
    return chunk(b"RIFF", b"WEBP", canvas, chunk(b"ALPH", bytes(100)))


# -- streams whose headers are rewritten ------------------------------------------------------------------------

class Bits:
    """A stream's parameter set as a string of 0 and 1, without emulation prevention."""

    def __init__(self, nal):
        self.text = "".join(f"{byte:08b}" for byte in nal.replace(b"\0\0\3", b"\0\0"))
        self.at = 0

    def skip(self, count):
        self.at += count

    def golomb(self):
        zeros = self.text.index("1", self.at) - self.at
        value = int(self.text[self.at + zeros:self.at + 2 * zeros + 1], 2) - 1
        self.at += 2 * zeros + 1
        return value

    def replace_golomb(self, value):
        start = self.at
        self.golomb()
        code = f"{value + 1:b}"
        self.text = self.text[:start] + "0" * (len(code) - 1) + code + self.text[self.at:]
        self.at = start + 2 * len(code) - 1

    def nal(self):
        text = self.text + "0" * (-len(self.text) % 8)
        data = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
        return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)


def blown_up_h264(data):
    """Baseline H.264 whose parameter set claims 60,000 x 60,000."""
    start = data.index(b"\0\0\1\x67") + 4
    end = data.index(b"\0\0\1", start)
    bits = Bits(data[start:end])
    bits.skip(24)
    bits.golomb(), bits.golomb()
    assert bits.golomb() == 2  # the order of pictures is that of decoding
    bits.golomb()
    bits.skip(1)
    bits.replace_golomb(60000 // 16 - 1)
    bits.replace_golomb(60000 // 16 - 1)
    return data[:start] + bits.nal() + data[end:]


def blown_up_hevc(data):
    start = data.index(b"\0\0\1\x42") + 5
    end = data.index(b"\0\0\1", start)
    bits = Bits(data[start:end])
    bits.skip(8 + 96)  # one temporal layer; profile and level
    bits.golomb()
    assert bits.golomb() == 1  # 4:2:0
    bits.replace_golomb(60000)
    bits.replace_golomb(60000)
    return data[:start] + bits.nal() + data[end:]


def blown_up_vp9(data):
    """VP9 in IVF: the sizes follow the sync code and four bits of colour in the first frame (VP9 specification 6.2)."""
    first = 32 + 12
    value = int.from_bytes(data[first:first + 9], "big")
    shift = 72 - 36 - 32
    value = value & ~(0xffffffff << shift) | (59999 << 16 | 59999) << shift
    return data[:first] + value.to_bytes(9, "big") + data[first + 9:]


def blown_up_vp8(data):
    first = 32 + 12 + 6
    return data[:first] + struct.pack("<HH", 16383, 16383) + data[first + 4:]


# -- tests ---------------------------------------------------------------------------------------------------

class Hostile(kit.Case):
    def setUp(self):
        super().setUp()
        if kit.sanitized():
            self.skipTest("memory is measured in the release build, not under a sanitizer")

    def made(self, name, content, size=0):
        """A file of this content, made longer without taking room on the disk."""
        path = self.tmp / name
        path.write_bytes(content)
        if size:
            os.truncate(path, size)
        return path

    def encoded(self, name, *options, size="320x240", seconds=0.5):
        path = self.tmp / name
        kit.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=10:d={seconds}", *options, path)
        return path

    def run_within(self, command, path, codes, limit_mb=LIMIT_MB):
        before = set(self.tmp.rglob("*"))
        done = kit.measured(command, path, *(["-o", self.tmp / "results"] if command == "process" else []), timeout=30,
                            MEMORY_LIMIT_MB=limit_mb)
        self.assertIn(done.returncode, codes, done.stderr)
        self.assertLessEqual(done.peak_mb, limit_mb, done.stderr)
        if done.returncode:
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertEqual(set(self.tmp.rglob("*")), before)
        return done.stderr

    def assertRefused(self, path, sentence="", codes=(3, 4), commands=BOTH, limit_mb=LIMIT_MB):
        for command in commands:
            with self.subTest(path.name, command=command):
                told = self.run_within(command, path, codes, limit_mb)
                self.assertTrue(re.search(sentence, told), told)
        path.unlink()

    def test_a_million_streams_are_refused_by_their_number(self):
        many = "more than the 128 streams"
        self.assertRefused(self.made("million.mkv", mkv(element("1654ae6b", TRACK * 1000000))), many, [4])
        self.assertRefused(self.made("empty.mkv", mkv(element("1654ae6b", b"\xae\x80" * 1000000))), many, [4])
        self.assertRefused(self.made("traks.mp4", mp4(trak() * 100000)), many, [4])
        self.assertRefused(self.made("empty.mp4", mp4(box(b"trak") * 1000000)), many, [4])
        self.assertRefused(self.made("streams.avi", avi(100000)), many, [4])
        self.assertRefused(self.made("streams.ts", transport_stream(200, 30)))

    def test_headers_that_cost_their_square_are_refused(self):
        keys = box(b"pssh", bytes(24)) * 20000
        self.assertRefused(self.made("keys.mp4", FTYP + box(b"moov", MVHD, trak(), keys)), "more than 100 systems of keys", [4])
        names = b"".join(struct.pack(">H", 7) + b"%07d" % i + b"\0" + bytes(8) for i in range(200000))
        text = b"\x02\0\x0aonMetaData\x08" + struct.pack(">I", 200000) + names + b"\0\0\x09"
        tag = b"\x12" + struct.pack(">I", len(text))[1:] + bytes(7) + text + struct.pack(">I", len(text) + 11)
        self.assertRefused(self.made("names.flv", b"FLV\1\1\0\0\0\x09\0\0\0\0" + tag), "takes more than 15 s|cannot be read", commands=BOTH[:1])

    def test_gigabytes_of_metadata_are_refused_by_their_length(self):
        long = "header of [0-9]+ MB|header longer than|cannot be read"
        for name, content in (("moov.mp4", FTYP + box(b"moov", MVHD, size=GIGABYTE)), ("udta.mp4", FTYP + box(b"udta", size=GIGABYTE)),
                              ("within.mp4", FTYP + box(b"moov", MVHD, trak(), box(b"udta", size=GIGABYTE), size=GIGABYTE)),
                              ("tags.mkv", mkv(element("1254c367", size=GIGABYTE))), ("tracks.mkv", mkv(element("1654ae6b", size=GIGABYTE))),
                              ("title.mkv", mkv(element("1549a966", element("7ba9", size=GIGABYTE - 12), size=GIGABYTE))),
                              ("info.avi", avi(1, chunk(b"LIST", b"INFO", b"INAM", struct.pack("<I", GIGABYTE), size=GIGABYTE)))):
            self.assertRefused(self.made(f"short-{name}", content), long)
            self.assertRefused(self.made(f"whole-{name}", content, size=GIGABYTE + len(content)), long)

    def test_an_index_of_more_than_there_is_costs_nothing(self):
        for samples in (10**6, 10**8, 2 * 10**9):
            self.assertRefused(self.made("samples.mp4", mp4(trak(samples))), f"claims {samples} samples", [4])
        self.assertRefused(self.made("edits.mp4", mp4(trak(1000, edits=1000000))), "edit list of 1000000 parts", [4])
        run = box(b"moof", box(b"traf", table(b"tfhd", 1), table(b"trun", 10**8)))
        self.assertRefused(self.made("run.mp4", mp4(trak(), box(b"mvex", table(b"trex", 1, 1, 10, 1, 0))) + run), "100000010 samples", [4])
        self.assertRefused(self.made("unpacked.mp4", FTYP + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"),
                                                                            box(b"cmvd", struct.pack(">I", GIGABYTE), bytes(100))))), "header of 1024 MB", [4])
        sizes = box(b"stsz", bytes(4), struct.pack(">II", 0, 8000000), b"\0\0\0\1" * 8000000)
        self.assertRefused(self.made("honest.mp4", mp4(trak(8000000, sizes=sizes))), "no memory is left", [4])

    def test_covers_fonts_and_tags_of_any_length_cost_nothing(self):
        clip, font = self.encoded("clip.mkv", "-c:v", "libx264"), self.made("font.ttf", b"", size=50 << 20)
        kit.ffmpeg("-i", clip, "-c", "copy", "-attach", font, "-metadata:s:t", "mimetype=font/ttf", self.tmp / "font.mkv")
        tags = element("1254c367", b"\x73\x73\x80" * 3000000)
        data = clip.read_bytes()
        segment = data.index(bytes.fromhex("18538067")) + 12
        live = data[:segment - 8] + b"\1" + b"\xff" * 7  # a segment that does not say how long it is
        (self.tmp / "first.mkv").write_bytes(live + tags + data[segment:])
        (self.tmp / "last.mkv").write_bytes(live + data[segment:] + tags)
        kit.ffmpeg("-i", clip, "-c", "copy", "-movflags", "empty_moov+frag_keyframe+default_base_moof", self.tmp / "clip.mp4")
        cover = box(b"udta", box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdir", bytes(12)),
                                 box(b"ilst", box(b"covr", box(b"data", b"\0\0\0\x0d", bytes(4), b"\xff\xd8\xff" * (16 << 20))))))
        data = (self.tmp / "clip.mp4").read_bytes()
        at = data.index(b"moov") - 4
        size = struct.unpack_from(">I", data, at)[0]
        (self.tmp / "cover.mp4").write_bytes(data[:at] + box(b"moov", data[at + 8:at + size], cover) + data[at + size:])
        rows = []
        for name in ("clip.mkv", "font.mkv", "first.mkv", "last.mkv", "cover.mp4"):
            with self.subTest(name):
                self.run_within("process", self.tmp / name, [0])
                rows.append(kit.rows(self.tmp / "results" / pathlib.Path(name).stem))
                self.assertEqual(rows[-1], rows[0])
                self.assertTrue(rows[0])

    def test_the_comment_of_a_gif_is_refused_by_its_length(self):
        head, picture = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6), b"\x2c" + struct.pack("<HHHHB", 0, 0, 16, 16, 0) + b"\2\2\x44\1\0"
        long, short = (b"\x21\xfe" + (b"\xff" + b"c" * 255) * parts + b"\0" for parts in (200000, 400))
        self.assertRefused(self.made("after.gif", head + picture + long + b";"), "a comment longer than 1024 KB", [4])
        self.assertRefused(self.made("before.gif", head + long + picture + b";"), "a comment longer than 1024 KB", [4])
        self.run_within("process", self.made("many.gif", head + picture + short * 100 + b";"), [0])

    def test_a_photo_of_thousands_of_scans_is_refused_by_their_number(self):
        """64 megapixels in half a megabyte, whose every 70 bytes cost as much as a picture."""
        def progressive(scans, side=8000):
            def segment(kind, *content):
                body = b"".join(content)
                return bytes((0xff, kind)) + struct.pack(">H", len(body) + 2) + body
            blocks = (side // 8) ** 2
            runs = ("0" + "1" * 14) * (blocks // 32767 + 1)  # of 32,767 empty blocks each
            runs += "1" * (-len(runs) % 8)
            runs = bytes(int(runs[i:i + 8], 2) for i in range(0, len(runs), 8)).replace(b"\xff", b"\xff\0")
            return (b"\xff\xd8" + segment(0xdb, b"\0" + b"\1" * 64) + segment(0xc2, struct.pack(">BHHB", 8, side, side, 1), b"\1\x11\0") +
                    segment(0xc4, b"\0\1" + bytes(15) + b"\0") + segment(0xc4, b"\x10\2" + bytes(15) + b"\xe0\0") +
                    segment(0xda, b"\1\1\0\0\0\0") + bytes(blocks // 8 + 1) + (segment(0xda, b"\1\1\0\1\x3f\0") + runs) * scans + b"\xff\xd9")
        self.assertRefused(self.made("scans.jpg", progressive(7000)), "claims a picture in 7001 scans; at most 500", [4])
        self.run_within("process", self.made("few.jpg", progressive(100, side=800)), [0])

    def test_what_a_photo_says_beside_its_pixels_costs_nothing(self):
        """Texts and profiles of 256 KB that unpack to 256 MB, and long ones."""
        packer = zlib.compressobj(9)
        bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()

        def png_chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        photos = {}
        for name in ("png", "jpg", "webp"):
            path = self.tmp / f"plain.{name}"
            kit.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", 1, path)
            photos[name] = path.read_bytes()
        plain, at = photos["png"], photos["png"].index(b"IDAT") - 4
        made = {"ztxt.png": plain[:at] + png_chunk(b"zTXt", b"Comment\0\0" + bomb) + plain[at:],
                "iccp.png": plain[:at] + png_chunk(b"iCCP", b"x\0\0" + bomb) + plain[at:],
                "text.png": plain[:at] + png_chunk(b"tEXt", b"Comment\0" + bytes(50 << 20)) + plain[at:],
                "app.jpg": photos["jpg"][:2] + (b"\xff\xef\xff\xff" + bytes(65533)) * 1000 + photos["jpg"][2:],
                "trailer.jpg": photos["jpg"] + bytes(50 << 20),
                "exif.webp": chunk(b"RIFF", photos["webp"][8:], chunk(b"EXIF", bytes(50 << 20)))}
        for name, content in made.items():
            with self.subTest(name):
                stem, kind = name.split(".")
                self.run_within("process", self.made(name, content), [0], limit_mb=36)
                self.process("-q", self.tmp / f"plain.{kind}")
                self.assertEqual((self.tmp / "results" / stem / "output.jpg").read_bytes(), (self.tmp / "results/plain/output.jpg").read_bytes())

    def test_a_header_of_60000_by_60000_pixels_is_refused(self):
        sentence = "pixels|how large|decoded|cannot be read"
        for codec in (b"avc1", b"hvc1", b"mp4v", b"jpeg", b"vp09", b"av01", b"apcn", b"raw ", b"png "):
            self.assertRefused(self.made(f"{codec.decode().strip()}.mov", mp4(trak(codec=codec, size=(60000, 60000))) + bytes(100)), sentence)
        baseline = ("-c:v", "libx264", "-profile:v", "baseline")
        for name, blow_up, options in (("h264.h264", blown_up_h264, baseline), ("vp9.ivf", blown_up_vp9, ("-c:v", "libvpx-vp9", "-cpu-used", 8)),
                                       ("hevc.hevc", blown_up_hevc, ("-c:v", "libx265", "-x265-params", "log-level=0")),
                                       ("vp8.ivf", blown_up_vp8, ("-c:v", "libvpx"))):
            clip = self.encoded(name, "-g", 5, *options)
            self.assertRefused(self.made(name, blow_up(clip.read_bytes())), sentence, commands=["process"] if name == "vp8.ivf" else BOTH)
        gif = bytearray(self.encoded("gif.gif").read_bytes())
        gif[6:10] = b"\xff\xff\xff\xff"
        self.assertRefused(self.made("gif.gif", gif), sentence)
        for side in (60000, 2**31 - 1, 30000):
            self.assertRefused(self.made("photo.png", png(side, side)), sentence)
        for name, photo in (("png", png), ("jpg", jpeg), ("webp", webp)):
            self.assertRefused(self.made(f"photo.{name}", photo(60000, 60000)), "60000 × 60000 pixels", [4])
            self.assertRefused(self.made(f"photo.{name}", photo(12000, 12000)), "needs [0-9]+ MB of memory, there are 64 MB", [4])

    def test_a_stream_that_grows_midway_is_stopped_with_both_numbers(self):
        for name, options, ivf in (("h264.h264", ("-c:v", "libx264", "-preset", "ultrafast"), False),
                                   ("hevc.hevc", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"), False),
                                   ("mpeg2.m2v", ("-c:v", "mpeg2video", "-r", 25), False),
                                   ("vp9.ivf", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8), True),
                                   ("av1.ivf", ("-c:v", "libsvtav1", "-preset", 12), True)):
            small, large = self.encoded(f"small-{name}", *options, seconds=3), self.encoded(f"large-{name}", *options, size="3840x2160", seconds=0.3)
            path = self.made(name, small.read_bytes() + large.read_bytes()[32 if ivf else 0:])
            self.assertEqual(self.run_within("probe", path, [0]), "")
            self.assertRefused(path, "needs [0-9]+ MB of memory, there are 64 MB", [4], commands=["process"])

    def test_a_file_that_goes_on_without_a_packet_ends(self):
        for name, options in (("ts.ts", ("-c:v", "libx264")), ("avi.avi", ("-c:v", "mpeg4"))):
            path = self.encoded(name, *options)
            os.truncate(path, 600 << 20)
            with self.subTest(name):
                self.run_within("probe", path, [0])
                self.run_within("process", path, [0])
            path.unlink()

    def test_what_is_gathered_between_two_packets_is_within_the_limit(self):
        for name, options in (("h264.h264", ("-c:v", "libx264")), ("hevc.hevc", ("-c:v", "libx265", "-x265-params", "log-level=0")),
                              ("m2v.m2v", ("-c:v", "mpeg2video", "-r", 25))):
            path = self.encoded(name, *options)
            os.truncate(path, 200 << 20)
            with self.subTest(name):
                self.run_within("process", path, [0], limit_mb=80)
                self.assertTrue(kit.document(self.tmp / "results" / path.stem, "metadata.json")["statistics"]["input_truncated"])
            path.unlink()

    def test_a_file_without_an_end_or_a_beginning_is_refused(self):
        for name, head in (("zeros.mp4", b""), ("zeros.ts", b"\x47\x40\0\x10" + bytes(184)), ("ftyp.mp4", FTYP), ("mdat.mp4", box(b"mdat", size=0)),
                           ("ebml.mkv", mkv()), ("packs.mpg", b"\0\0\1\xba" + bytes(10))):
            self.assertRefused(self.made(name, head, size=4 * GIGABYTE))


if __name__ == "__main__":
    kit.main()
