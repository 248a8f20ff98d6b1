/* Runs chains of steps (see chain.h). */
#include <string.h>

#include "chain.h"

enum { BAND_FLOATS = 48 * 1024 }; /* of all bands of a chain: a part of the second-level cache of today's CPUs */

/* Rows `begin` to `end` of the result of one step, and what the step needs to make them. */
typedef struct band {
    float *rows, *scratch;
    int begin, end;
    bool prepared;
} band;

typedef struct chain {
    const bs_nn_kernels *kernels;
    const bs_nn_step *steps;
    int length;
    int stop; /* the row after the last one of this part */
    bs_nn_meter *meter;
    band bands[BS_NN_MAX_CHAIN];
} chain;

int bs_nn_chain_length(const bs_nn_step *steps)
{
    int length = 1;
    while (steps[length - 1].linked)
        length++;
    return length;
}

/* Up to whole cache lines. */
static size_t whole_lines(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

static size_t row_floats(bs_nn_shape shape)
{
    return (size_t)shape.width * (size_t)shape.channels;
}

/* Rows of step i's result that are kept at once where the last step makes `rows` at a time. */
static int kept_rows(const bs_nn_step *steps, int length, int i, int rows)
{
    for (int k = length - 1; k > i; k--) {
        rows = (rows - 1) * steps[k].stride_h + steps[k].kernel_h;
        rows = rows < steps[k].in_shape.height ? rows : steps[k].in_shape.height;
    }
    return rows;
}

static size_t band_floats(const bs_nn_step *steps, int length, int i, int rows)
{
    return whole_lines((size_t)kept_rows(steps, length, i, rows) * row_floats(steps[i].out_shape));
}

static size_t bands_floats(const bs_nn_step *steps, int length, int rows)
{
    size_t sum = 0;
    for (int i = 0; i < length - 1; i++)
        sum += band_floats(steps, length, i, rows);
    return sum;
}

/* Rows that the last step makes at a time. */
static int rows_at_once(const bs_nn_step *steps, int length)
{
    int rows = 2;
    while (rows < steps[length - 1].out_shape.height && bands_floats(steps, length, rows + 1) <= BAND_FLOATS)
        rows++;
    return rows;
}

/* Each step has its own, which keeps its weights from band to band. */
static size_t step_scratch(const bs_nn_kernels *kernels, const bs_nn_step *step)
{
    return whole_lines(kernels->scratch(step));
}

size_t bs_nn_chain_scratch(const bs_nn_kernels *kernels, const bs_nn_step *steps)
{
    const int length = bs_nn_chain_length(steps);
    size_t sum = length > 1 ? bands_floats(steps, length, rows_at_once(steps, length)) : 0;
    for (int i = 0; i < length; i++)
        sum += step_scratch(kernels, &steps[i]);
    return sum;
}

/* The rows of its input that rows `begin` to `end` of a step's result are made of. */
static void rows_read(const bs_nn_step *s, int begin, int end, int *top, int *bottom)
{
    const int first = begin * s->stride_h - s->pad_top, last = (end - 1) * s->stride_h - s->pad_top + s->kernel_h;
    *top = first > 0 ? first : 0;
    *bottom = last < s->in_shape.height ? last : s->in_shape.height;
}

/* Forgets the rows before `top`. */
static void forget(band *b, int top, size_t row)
{
    if (top < b->end)
        memmove(b->rows, b->rows + (size_t)(top - b->begin) * row, sizeof(float) * (size_t)(b->end - top) * row);
    else
        b->end = top;
    b->begin = top;
}

/* Makes the rows of step i's result up to `end`, and first those of the steps before it that they are made of. */
static void advance(chain *c, int i, int end)
{
    bs_nn_step s = c->steps[i]; /* of these rows alone */
    band *const b = &c->bands[i];
    const size_t in_row = row_floats(s.in_shape), out_row = row_floats(s.out_shape);
    const int begin = b->end;
    int top, bottom;
    if (begin >= end)
        return;
    rows_read(&s, begin, end, &top, &bottom);
    if (i > 0) {
        forget(&c->bands[i - 1], top, in_row);
        advance(c, i - 1, bottom);
        s.in = c->bands[i - 1].rows;
    } else {
        s.in += (size_t)top * in_row;
    }
    s.pad_top = top - (begin * s.stride_h - s.pad_top);
    s.in_shape.height = bottom - top;
    s.out_shape.height = end - begin;
    s.out = i == c->length - 1 ? s.out + (size_t)begin * out_row : b->rows + (size_t)(begin - b->begin) * out_row;
    if (s.other)
        s.other += (size_t)begin * (size_t)s.out_shape.width * (size_t)s.other_channels;
    if (i < c->length - 1 || end < c->stop)
        s.ahead = NULL;
    const double start = c->meter ? c->meter->now() : 0;
    s.prepared = b->prepared;
    c->kernels->run(&s, b->scratch, 0, 1);
    if (c->meter)
        c->meter->seconds[i] += c->meter->now() - start;
    b->end = end;
    b->prepared = true;
}

void bs_nn_chain_run(const bs_nn_kernels *kernels, const bs_nn_step *steps, float *scratch, int part, int parts,
                     bs_nn_meter *meter)
{
    chain c = {.kernels = kernels, .steps = steps, .length = bs_nn_chain_length(steps), .meter = meter};
    if (c.length == 1) {
        const double start = meter ? meter->now() : 0;
        kernels->run(steps, scratch, part, parts);
        if (meter)
            meter->seconds[0] += meter->now() - start;
        return;
    }
    const int last = c.length - 1, rows = rows_at_once(steps, c.length);
    int begin, bottom;
    for (int i = 0; i < c.length; i++) {
        c.bands[i].scratch = scratch;
        scratch += step_scratch(kernels, &steps[i]);
    }
    for (int i = 0; i < last; i++) {
        c.bands[i].rows = scratch;
        scratch += band_floats(steps, c.length, i, rows);
    }
    bs_nn_share(steps[last].out_shape.height, 1, part, parts, &begin, &c.stop);
    c.bands[last].begin = c.bands[last].end = begin;
    for (int i = last; i > 0; i--) {
        rows_read(&steps[i], c.bands[i].begin, c.bands[i].begin + 1, &begin, &bottom);
        c.bands[i - 1].begin = c.bands[i - 1].end = begin;
    }
    for (int y = c.bands[last].begin; y < c.stop; y += rows)
        advance(&c, last, y + rows < c.stop ? y + rows : c.stop);
}
