/* The kernels of one instruction set, from its vector. Included once by avx2.c, avx512.c, sse2.c and neon.c, each of
 * which defines
 *   the wide vector:   VEC, LANES, NAME, v_load …, before including vector_ops.h;
 *   the register tiles: by including vector_panel.h, in a table `panel_kinds`, widest first;
 *   panel_width(n):     how wide the next panel should be when n outputs are left;
 *   pack8x8():          half-precision weights of 8 outputs × 8 taps to a panel's columns.
 * See kernels.h for what they compute, vector_tile.h and vector_ops.h for how.
 *
 * A convolution is a matrix product: pixels × taps times taps × outputs. The outputs are cut into panels of 8 to 48;
 * a panel's weights are converted to float32 and transposed to [tap][output] in scratch when their turn comes.
 * Few weights (early layers, large images): all panels are packed first, then blocks of pixels go through all of
 * them while they are in the first-level cache. Many weights, or no more pixels than one block (late layers, small
 * images): panel by panel. */

enum {
    PACKED_FLOATS = 64 * 1024, /* up to here all panels are packed at once */
    BLOCK_PIXELS = 64,
    MAX_ROWS = 8,   /* of a tile */
    MAX_WIDTH = 48, /* of a panel */
};

/* Up to whole vectors of any instruction set. */
static size_t whole_vectors(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

/* Of all panels together. */
static size_t panel_floats(const bs_nn_step *s, size_t taps)
{
    size_t outputs = 0;
    while (outputs < (size_t)s->out_shape.channels)
        outputs += (size_t)panel_width(s->out_shape.channels - (int)outputs);
    return outputs * taps;
}

typedef struct conv_state {
    const bs_nn_step *s;
    int taps;       /* per output */
    bool pointwise; /* a plain matrix product over all pixels: no window */
    bool together;  /* all panels are packed first */
    float *bias;    /* padded to whole panels */
    float *pixel;   /* the taps of one pixel at the image's edge */
    float *packed;
} conv_state;

/* The last panel may begin at the last output. */
static size_t bias_floats(const bs_nn_step *s)
{
    return whole_vectors((size_t)s->out_shape.channels + MAX_WIDTH);
}

static size_t pixel_floats(const conv_state *c)
{
    return c->pointwise ? 0 : whole_vectors((size_t)c->taps);
}

static conv_state conv_open(const bs_nn_step *s, float *scratch)
{
    conv_state c = {.s = s, .taps = s->kernel_h * s->kernel_w * s->in_shape.channels};
    bool one = s->kernel_h == 1 && s->kernel_w == 1 && s->stride_h == 1 && s->stride_w == 1;
    bool all = s->kernel_h == s->in_shape.height && s->kernel_w == s->in_shape.width && s->out_shape.height == 1 &&
               s->out_shape.width == 1;
    c.pointwise = !s->pad_top && !s->pad_left && (one || all) &&
                  (all || (s->in_shape.height == s->out_shape.height && s->in_shape.width == s->out_shape.width));
    /* More than a block of pixels, told by the width: a band of a chain has few rows, its packed weights serve all. */
    c.together = !c.pointwise || (s->out_shape.width * s->out_shape.width > BLOCK_PIXELS &&
                                  panel_floats(s, (size_t)c.taps) <= PACKED_FLOATS);
    if (scratch) { /* NULL: only what kind of convolution it is */
        c.bias = scratch;
        c.pixel = c.bias + bias_floats(s);
        c.packed = c.pixel + pixel_floats(&c);
    }
    return c;
}

static size_t conv_scratch(const bs_nn_step *s)
{
    conv_state c = conv_open(s, NULL);
    const size_t all = panel_floats(s, (size_t)c.taps), widest = (size_t)panel_kinds[0].width * (size_t)c.taps;
    return bias_floats(s) + pixel_floats(&c) + (c.together || all < widest ? all : widest);
}

/* Dense weights or biases as floats. */
static void get_floats(const bs_nn_weights *w, size_t first, size_t count, float *out)
{
    size_t i = 0;
    if (w->data && w->value_bytes == 2)
        for (; i + 8 <= count; i += 8)
            widen8(w->data + 2 * (first + i), out + i);
    bs_nn_weights_get(w, first + i, count - i, out + i);
}

/* One row of a sparse filter of half precision into a panel of zeros: column c at out[c · width]. */
static void pack_sparse_row(const bs_nn_weights *w, int row, float *out, size_t width)
{
    const size_t begin = bs_nn_index(w->segments, w->segment_bytes, (size_t)row);
    const size_t end = bs_nn_index(w->segments, w->segment_bytes, (size_t)row + 1);
    float values[8];
    for (size_t p = begin; p < end; p += 8) {
        const size_t count = end - p < 8 ? end - p : 8;
        if (count == 8)
            widen8(w->data + 2 * p, values);
        for (size_t i = 0; count < 8 && i < count; i++)
            values[i] = bs_nn_half_to_float((uint16_t)bs_nn_index(w->data, 2, p + i));
        for (size_t i = 0; i < count; i++)
            out[width * (w->index_bytes == 1 ? w->indices[p + i] : bs_nn_index(w->indices, w->index_bytes, p + i))] =
                values[i];
    }
}

/* Outputs `first` to `first + width` (those that exist) of the filter, as [tap][output]; zeros for the others. */
static void pack_panel(const bs_nn_step *s, int taps, int first, int width, float *out)
{
    const bs_nn_weights *w = &s->weights;
    const int valid = min_int(width, s->out_shape.channels - first);
    const int whole = w->value_bytes == 2 && !w->segments ? taps / 8 * 8 : 0;
    int o = 0;
    for (; o + 8 <= valid && whole; o += 8) {
        const uint8_t *from = w->data + 2 * ((size_t)(first + o) * (size_t)taps);
        for (int k = 0; k < whole; k += 8)
            pack8x8(from + 2 * k, 2 * (size_t)taps, out + (size_t)k * width + o, (size_t)width);
        for (int i = o; i < o + 8; i++)
            for (int k = whole; k < taps; k++)
                bs_nn_weights_get(w, (size_t)(first + i) * (size_t)taps + k, 1, out + (size_t)k * width + i);
    }
    if (w->segments && w->value_bytes == 2) {
        memset(out, 0, sizeof(float) * (size_t)taps * (size_t)width);
        for (; o < valid; o++)
            pack_sparse_row(w, first + o, out + o, (size_t)width);
        return;
    }
    for (; o < valid; o++)
        bs_nn_weights_row(w, first + o, taps, out + o, width);
    for (; o < width; o++)
        for (int k = 0; k < taps; k++)
            out[(size_t)k * width + o] = 0;
}

/* The first output of the panel that does the outputs from `next` on. The last panel is moved back where it would stick
 * out: what it computes again comes out the same, unless it is added to what lies there. */
static int panel_first(const bs_nn_step *s, int next, int width)
{
    const int outputs = s->out_shape.channels;
    return next + width > outputs && outputs >= width && !s->other_channels ? outputs - width : next;
}

/* `rows` consecutive pixels of one panel, the largest tiles first. */
static void run_tiles(const panel_kind *kind, tile_job job, int rows)
{
    for (const panel_tile *tile = kind->tiles; rows > 0; tile++) {
        const int count = rows / tile->rows, done = count * tile->rows;
        tile->run(&job, count);
        job.ahead += job.ahead_step * (size_t)job.k * (size_t)job.segments * (size_t)count;
        job.a += (size_t)done * job.a_stride;
        job.c += (size_t)done * job.c_stride;
        if (job.other)
            job.other += (size_t)done * job.other_stride;
        rows -= done;
    }
}

/* The same where the panel is wider than the outputs or the addend that are left: by way of a small buffer. */
static void run_tiles_ragged(const panel_kind *kind, tile_job job, int rows, int valid, int addends)
{
    float buffer[MAX_ROWS * MAX_WIDTH] __attribute__((aligned(64)));
    while (rows > 0) {
        tile_job part = job;
        int some = min_int(rows, MAX_ROWS);
        part.c = buffer;
        part.c_stride = (size_t)kind->width;
        part.other = NULL;
        run_tiles(kind, part, some);
        for (int r = 0; r < some; r++) {
            float *from = buffer + r * kind->width;
            for (int o = 0; o < valid && job.other; o++) {
                float other = o < addends ? job.other[(size_t)r * job.other_stride + o] : 0.0f;
                from[o] = bs_nn_clamp(from[o] + other, job.add_low, job.add_high);
            }
            memcpy(job.c + (size_t)r * job.c_stride, from, sizeof(float) * (size_t)valid);
        }
        job.a += (size_t)some * job.a_stride;
        job.c += (size_t)some * job.c_stride;
        if (job.other)
            job.other += (size_t)some * job.other_stride;
        rows -= some;
    }
}

/* `count` pixels from `pixel` on (of the output; neighbours in memory) of the panel of outputs from `first` on. */
static void run_panel(const conv_state *c, tile_job job, int first, int width, const float *packed, size_t pixel,
                      int count)
{
    const bs_nn_step *s = c->s;
    const panel_kind *kind = panel_kinds;
    const int outputs = s->out_shape.channels, addends = s->other_channels - first;
    while (kind->width != width)
        kind++;
    job.b = packed;
    job.bias = c->bias + first;
    job.c = s->out + pixel * (size_t)outputs + first;
    job.c_stride = (size_t)outputs;
    job.low = s->low;
    job.high = s->high;
    job.add_low = s->add_low;
    job.add_high = s->add_high;
    job.other = s->other_channels ? s->other + pixel * (size_t)s->other_channels + first : NULL;
    job.other_stride = (size_t)s->other_channels;
    if (first + width <= outputs && (!job.other || width <= addends))
        run_tiles(kind, job, count);
    else
        run_tiles_ragged(kind, job, count, min_int(width, outputs - first), addends);
}

/* All panels, packed, over `count` pixels. */
static void run_panels(const conv_state *c, tile_job job, size_t pixel, int count)
{
    const float *packed = c->packed;
    for (int o = 0; o < c->s->out_shape.channels;) {
        int width = panel_width(c->s->out_shape.channels - o);
        run_panel(c, job, panel_first(c->s, o, width), width, packed, pixel, count);
        packed += (size_t)width * (size_t)c->taps;
        o += width;
    }
}

static void pack_panels(const conv_state *c)
{
    float *packed = c->packed;
    for (int o = 0; o < c->s->out_shape.channels;) {
        int width = panel_width(c->s->out_shape.channels - o);
        pack_panel(c->s, c->taps, panel_first(c->s, o, width), width, packed);
        packed += (size_t)width * (size_t)c->taps;
        o += width;
    }
}

/* While a panel is computed, memory is asked for the weights of the next one, or of the step after this one. */
static void look_ahead(const conv_state *c, tile_job *job, int next, int pixels)
{
    const bs_nn_step *s = c->s;
    const bool same = next < s->out_shape.channels && !s->weights.segments;
    const size_t panel = (size_t)panel_width(s->out_shape.channels - next) * (size_t)c->taps * s->weights.value_bytes;
    const size_t tiles = (size_t)(pixels + MAX_ROWS - 1) / MAX_ROWS, bytes = same ? panel : s->ahead_bytes;
    const size_t step = bytes / (tiles * (size_t)c->taps) + 1;
    job->ahead = same ? s->weights.data + (size_t)next * (size_t)c->taps * s->weights.value_bytes : s->ahead;
    job->ahead_step = job->ahead ? (step > 64 ? 64 : step) : 0;
}

static void conv_pointwise(const conv_state *c, int part, int parts)
{
    const bs_nn_step *s = c->s;
    int pixels = s->out_shape.height * s->out_shape.width, begin = 0, end = pixels;
    tile_job job = {.segments = 1, .k = c->taps, .a_stride = (size_t)c->taps};
    bool by_panels = parts > 1 && pixels < 512; /* few pixels: threads share the panels, and their packing */
    if (!by_panels)
        bs_nn_share(pixels, MAX_ROWS, part, parts, &begin, &end);
    if (c->together && !by_panels) {
        if (begin < end && !s->prepared)
            pack_panels(c);
        const int blocks = (end - begin + BLOCK_PIXELS - 1) / BLOCK_PIXELS;
        for (int p = begin; p < end; p += BLOCK_PIXELS) {
            const size_t share = s->ahead_bytes / (size_t)blocks + 1, block = (size_t)(p - begin) / BLOCK_PIXELS;
            prefetch_bytes(s->ahead ? s->ahead + block * share : NULL, share);
            job.a = s->in + (size_t)p * job.a_stride;
            run_panels(c, job, (size_t)p, min_int(BLOCK_PIXELS, end - p));
        }
        return;
    }
    job.a = s->in + (size_t)begin * job.a_stride;
    for (int o = 0, i = 0; o < s->out_shape.channels; i++) {
        int width = panel_width(s->out_shape.channels - o);
        if (begin < end && (!by_panels || i % parts == part)) {
            const int first = by_panels ? o : panel_first(s, o, width); /* another thread's outputs are its own */
            pack_panel(s, c->taps, first, width, c->packed);
            look_ahead(c, &job, o + width, end - begin);
            run_panel(c, job, first, width, c->packed, (size_t)begin, end - begin);
        }
        o += width;
    }
}

/* The taps of output pixel (y, x), zeros where they are outside of the image. */
static void gather_pixel(const conv_state *c, int y, int x)
{
    const bs_nn_step *s = c->s;
    const size_t channels = (size_t)s->in_shape.channels;
    const span ty = taps_inside(y, s->in_shape.height, s->kernel_h, s->stride_h, s->pad_top);
    const span tx = taps_inside(x, s->in_shape.width, s->kernel_w, s->stride_w, s->pad_left);
    memset(c->pixel, 0, sizeof(float) * (size_t)c->taps);
    for (int i = ty.begin; i < ty.end && tx.begin < tx.end; i++) {
        size_t row = (size_t)(y * s->stride_h - s->pad_top + i),
               column = (size_t)(x * s->stride_w - s->pad_left + tx.begin);
        memcpy(c->pixel + ((size_t)i * s->kernel_w + tx.begin) * channels,
               s->in + (row * (size_t)s->in_shape.width + column) * channels,
               sizeof(float) * channels * (size_t)(tx.end - tx.begin));
    }
}

/* A k×k convolution: along each row the pixels whose window is inside the image are read in place. */
static void conv_window(const conv_state *c, int part, int parts)
{
    const bs_nn_step *s = c->s;
    const size_t channels = (size_t)s->in_shape.channels, row = channels * (size_t)s->in_shape.width;
    const span xs = whole_windows(s->in_shape.width, s->out_shape.width, s->kernel_w, s->stride_w, s->pad_left);
    int begin, end;
    bs_nn_share(s->out_shape.height, 1, part, parts, &begin, &end);
    if (begin < end && !s->prepared)
        pack_panels(c);
    for (int y = begin; y < end; y++) {
        const span ty = taps_inside(y, s->in_shape.height, s->kernel_h, s->stride_h, s->pad_top);
        const bool whole = ty.end - ty.begin == s->kernel_h;
        for (int x = 0; x < s->out_shape.width;) {
            tile_job job = {.segments = 1, .k = c->taps, .a = c->pixel};
            int count = 1;
            if (whole && x >= xs.begin && x < xs.end) {
                count = min_int(BLOCK_PIXELS, xs.end - x);
                job = (tile_job){.segments = s->kernel_h, .k = (long)channels * s->kernel_w, .a_segment = row};
                job.a_stride = channels * (size_t)s->stride_w;
                job.a = s->in + (size_t)(y * s->stride_h - s->pad_top) * row +
                        (size_t)(x * s->stride_w - s->pad_left) * channels;
            } else {
                gather_pixel(c, y, x);
            }
            run_panels(c, job, (size_t)y * s->out_shape.width + x, count);
            x += count;
        }
    }
}

static void conv(const bs_nn_step *s, float *scratch, int part, int parts)
{
    conv_state c = conv_open(s, scratch);
    if (!s->prepared) {
        get_floats(&s->bias, 0, (size_t)s->out_shape.channels, c.bias);
        memset(c.bias + s->out_shape.channels, 0, sizeof(float) * MAX_WIDTH);
    }
    if (c.pointwise)
        conv_pointwise(&c, part, parts);
    else
        conv_window(&c, part, parts);
}

/* --- Depthwise and the rest ----------------------------------------------------------------------------- */

/* Channels at a time: as many as keep the rows that a row of windows reads close by, where the next
 * row of windows finds all but one or two of them again. Wide images have few channels; runs of whole pixels are worth
 * more there. */
static int depthwise_chunk(const bs_nn_step *s)
{
    const int taps = s->kernel_h * s->kernel_w, channels = vector_channels(s->in_shape.channels);
    const int width = s->in_shape.width > 32 ? 8 * s->stride_w + s->kernel_w : s->in_shape.width;
    const int fitting = 14 * 1024 / (s->kernel_h * width + taps + 1) / 16 * 16;
    return min_int(fitting < 16 ? 16 : fitting, channels);
}

static size_t depthwise_scratch(const bs_nn_step *s)
{
    size_t taps = (size_t)s->kernel_h * s->kernel_w;
    size_t vectors = (taps + 1) * (size_t)(depthwise_chunk(s) + 16), rest = bs_nn_portable.scratch(s);
    return vector_channels(s->in_shape.channels) == s->in_shape.channels || vectors > rest ? vectors : rest;
}

/* Weights and biases of the channels from `begin` on. */
static void depthwise_weights(const bs_nn_step *s, int begin, int count, float *weights, float *bias)
{
    const size_t channels = (size_t)s->in_shape.channels;
    get_floats(&s->bias, (size_t)begin, (size_t)count, bias);
    for (int j = 0; j < s->kernel_w; j++)
        for (int i = 0; i < s->kernel_h; i++)
            get_floats(&s->weights, (size_t)(i * s->kernel_w + j) * channels + (size_t)begin, (size_t)count,
                       weights + (size_t)(j * s->kernel_h + i) * (size_t)count);
}

static void depthwise(const bs_nn_step *s, float *scratch, int part, int parts)
{
    const int channels = s->in_shape.channels, vectors = vector_channels(channels), chunk = depthwise_chunk(s);
    const bool prepared = s->prepared && chunk == channels; /* else they were overwritten */
    const bool by_channels = parts > 1 && s->out_shape.height < 16;
    int top = 0, bottom = s->out_shape.height, first = 0, last = vectors;
    if (by_channels)
        bs_nn_share(vectors, 16, part, parts, &first, &last);
    else
        bs_nn_share(s->out_shape.height, 1, part, parts, &top, &bottom);
    for (int begin = first; begin < last && top < bottom; begin += chunk) {
        const int end = min_int(begin + chunk, last), count = end - begin;
        const size_t share = s->ahead_bytes * (size_t)count / (size_t)vectors;
        prefetch_bytes(s->ahead ? s->ahead + s->ahead_bytes * (size_t)begin / (size_t)vectors : NULL, share);
        float *bias = scratch, *weights = scratch + whole_vectors((size_t)count);
        if (!prepared)
            depthwise_weights(s, begin, count, weights, bias);
        V_OPS(depthwise_rows, count)(s, weights, bias, begin, end, top, bottom);
    }
    if (vectors < channels && (!by_channels || part == 0))
        bs_nn_plain_depthwise(s, scratch, top, bottom, vectors);
}

static void add(const bs_nn_step *s, int top, int bottom)
{
    const size_t row = (size_t)s->out_shape.width * s->out_shape.channels;
    size_t begin = row * (size_t)top, end = row * (size_t)bottom;
    if (s->other_channels != s->out_shape.channels || row % 16) {
        bs_nn_plain_add(s, top, bottom);
        return;
    }
    V_OPS(add_run, 16)(s, begin, end);
}

static void max_pool(const bs_nn_step *s, int top, int bottom)
{
    const int channels = s->in_shape.channels, vectors = vector_channels(channels);
    const span xs = whole_windows(s->in_shape.width, s->out_shape.width, s->kernel_w, s->stride_w, s->pad_left);
    const span ys = whole_windows(s->in_shape.height, s->out_shape.height, s->kernel_h, s->stride_h, s->pad_top);
    if (xs.end - xs.begin != s->out_shape.width || ys.end - ys.begin != s->out_shape.height || s->other_channels) {
        bs_nn_plain_max_pool(s, top, bottom, 0);
        return;
    }
    for (int y = top; y < bottom; y++)
        for (int x = 0; x < s->out_shape.width; x++)
            V_OPS(max_pool_pixel, channels)
    (s, s->in + ((size_t)y * s->stride_h * s->in_shape.width + (size_t)x * s->stride_w) * channels,
     s->out + ((size_t)y * s->out_shape.width + x) * channels, vectors);
    if (vectors < channels)
        bs_nn_plain_max_pool(s, top, bottom, vectors);
}

static void resize(const bs_nn_step *s, int top, int bottom)
{
    const int channels = s->in_shape.channels, width = s->in_shape.width;
    const int vectors = s->other_channels == 0 || s->other_channels == channels ? vector_channels(channels) : 0;
    for (int y = top; y < bottom && vectors; y++) {
        const int above = max_int((y - 1) >> 1, 0), below = min_int(((y - 1) >> 1) + 1, s->in_shape.height - 1);
        for (int x = 0; x < 2 * width; x++) {
            const int left = max_int((x - 1) >> 1, 0), right = min_int(((x - 1) >> 1) + 1, width - 1);
            const size_t at = ((size_t)y * 2 * width + x) * channels;
            const float *const corner[4] = {
                s->in + ((size_t)above * width + left) * channels, s->in + ((size_t)above * width + right) * channels,
                s->in + ((size_t)below * width + left) * channels, s->in + ((size_t)below * width + right) * channels};
            V_OPS(resize_pixel, channels)
            (s, corner, x & 1 ? 0.25f : 0.75f, y & 1 ? 0.25f : 0.75f, s->other ? s->other + at : NULL, s->out + at,
             vectors);
        }
    }
    if (vectors < channels)
        bs_nn_plain_resize(s, top, bottom, vectors);
}

static size_t scratch_of(const bs_nn_step *s)
{
    return s->kind == BS_NN_CONV ? conv_scratch(s) : s->kind == BS_NN_DEPTHWISE ? depthwise_scratch(s) : 0;
}

static void run(const bs_nn_step *s, float *scratch, int part, int parts)
{
    int top, bottom;
    bs_nn_share(s->out_shape.height, 1, part, parts, &top, &bottom);
    switch (s->kind) {
    case BS_NN_CONV: conv(s, scratch, part, parts); break;
    case BS_NN_DEPTHWISE: depthwise(s, scratch, part, parts); break;
    case BS_NN_MAX_POOL: max_pool(s, top, bottom); break;
    case BS_NN_RESIZE: resize(s, top, bottom); break;
    case BS_NN_ADD: add(s, top, bottom); break;
    default: bs_nn_run_plain(s, part, parts); break;
    }
}
