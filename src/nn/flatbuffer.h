/* A FlatBuffer from outside, of which nothing is believed: every offset and count is checked against the file's length
 * before it is followed, and every number is put together byte by byte. A reader that has met something impossible
 * keeps the first complaint and from then on returns zeros, so that its user asks once per table. For reader.c alone.
 *
 * Source: the FlatBuffers binary format, flatbuffers.dev/internals; blazepose.md 3.1. */
#ifndef BS_NN_FLATBUFFER_H
#define BS_NN_FLATBUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <bodyscript/status.h>

typedef struct reader {
    const uint8_t *d;
    size_t n;
    char complaint[200]; /* the first; empty while all is well */
} reader;

typedef struct table {
    size_t at, vtable; /* 0: absent */
    unsigned vtable_size;
} table;

typedef struct vector {
    size_t at; /* of the first element */
    uint32_t count;
} vector;

static void complain(reader *r, const char *format, ...) BS_PRINTF(2, 3);
static void complain(reader *r, const char *format, ...)
{
    if (r->complaint[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(r->complaint, sizeof(r->complaint), format, args);
    va_end(args);
}

static bool inside(reader *r, size_t at, size_t size)
{
    if (at <= r->n && size <= r->n - at)
        return true;
    complain(r, "an offset leads beyond its end");
    return false;
}

static uint32_t get_u32(reader *r, size_t at)
{
    uint8_t b[4];
    if (!inside(r, at, 4))
        return 0;
    memcpy(b, r->d + at, 4);
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint32_t get_u16(reader *r, size_t at)
{
    uint8_t b[2];
    if (!inside(r, at, 2))
        return 0;
    memcpy(b, r->d + at, 2);
    return b[0] | (uint32_t)b[1] << 8;
}

static int get_u8(reader *r, size_t at)
{
    return inside(r, at, 1) ? r->d[at] : 0;
}

/* The place that the offset stored at `at` leads to; 0 after a complaint. */
static size_t follow(reader *r, size_t at)
{
    uint32_t offset = get_u32(r, at);
    if (!offset || !inside(r, at, offset))
        complain(r, "an offset leads beyond its end");
    return r->complaint[0] ? 0 : at + offset;
}

static table table_at(reader *r, size_t at)
{
    table t = {0};
    if (r->complaint[0] || !inside(r, at, 4))
        return t;
    int64_t vtable = (int64_t)at - (int32_t)get_u32(r, at);
    if (vtable < 0 || !inside(r, (size_t)vtable, 4)) {
        complain(r, "an offset leads beyond its end");
        return t;
    }
    unsigned size = get_u16(r, (size_t)vtable);
    if (size < 4 || !inside(r, (size_t)vtable, size)) {
        complain(r, "a table is cut short");
        return t;
    }
    return (table){.at = at, .vtable = (size_t)vtable, .vtable_size = size};
}

/* Where field i of the table lies; 0: absent. */
static size_t field(reader *r, table t, unsigned i)
{
    if (!t.at || 4 + 2 * i + 2 > t.vtable_size)
        return 0;
    unsigned offset = get_u16(r, t.vtable + 4 + 2 * i);
    return offset ? t.at + offset : 0;
}

static int32_t field_i32(reader *r, table t, unsigned i, int32_t absent)
{
    size_t at = field(r, t, i);
    return at ? (int32_t)get_u32(r, at) : absent;
}

static int field_u8(reader *r, table t, unsigned i, int absent)
{
    size_t at = field(r, t, i);
    return at ? get_u8(r, at) : absent;
}

static table field_table(reader *r, table t, unsigned i)
{
    size_t at = field(r, t, i);
    return at ? table_at(r, follow(r, at)) : (table){0};
}

static vector field_vector(reader *r, table t, unsigned i, size_t element)
{
    vector v = {0};
    size_t at = field(r, t, i);
    if (!at || !(at = follow(r, at)))
        return v;
    uint32_t count = get_u32(r, at);
    if (r->complaint[0] || !inside(r, at + 4, (size_t)count * element))
        return v;
    return (vector){.at = at + 4, .count = count};
}

static table vector_table(reader *r, vector v, uint32_t i)
{
    return table_at(r, follow(r, v.at + 4 * (size_t)i));
}

static int32_t vector_i32(reader *r, vector v, uint32_t i)
{
    return (int32_t)get_u32(r, v.at + 4 * (size_t)i);
}

#endif
