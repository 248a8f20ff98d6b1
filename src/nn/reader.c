/* Reads a .tflite file into a checked graph (graph.h).
 *
 * The file is a FlatBuffer (blazepose.md 3.1; field numbers: tensorflow/lite/schema/schema.fbs, restated in 3.2),
 * of which nothing is believed (flatbuffer.h). Callers check once per table whether the reader has complained. Weights
 * are not touched here: opening a model reads a few hundred kilobytes of tables, whatever the model's size. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flatbuffer.h"
#include "graph.h"

/* --- Tensors --------------------------------------------------------------------------------------- */

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_I32 = 2 };

static int type_bytes(int type)
{
    static const int bytes[] = {4, 2, 4, 1, 8, 0, 1, 2, 8, 1, 8};
    return type >= 0 && type < (int)(sizeof(bytes) / sizeof(bytes[0])) ? bytes[type] : 0;
}

static void read_shape(reader *r, table t, bs_nn_tensor *out, int index)
{
    vector shape = field_vector(r, t, 0, 4);
    if (shape.count > 4) {
        complain(r, "tensor %d has %u dimensions; at most 4 are supported", index, shape.count);
        return;
    }
    out->rank = (int)shape.count;
    out->count = 1;
    for (int i = 0; i < out->rank; i++) {
        int32_t size = vector_i32(r, shape, (uint32_t)i);
        if (size < 1 || (size_t)size > BS_NN_MAX_ELEMENTS || out->count * (size_t)size > BS_NN_MAX_ELEMENTS) {
            complain(r, "tensor %d has an impossible shape", index);
            return;
        }
        out->dims[i] = size;
        out->count *= (size_t)size;
    }
    const int *d = out->dims;
    switch (out->rank) {
    case 4: out->shape = (bs_nn_shape){d[1], d[2], d[3]}; break;
    case 3: out->shape = (bs_nn_shape){1, d[1], d[2]}; break;
    case 2: out->shape = (bs_nn_shape){1, 1, d[1]}; break;
    default: out->shape = (bs_nn_shape){1, 1, (int)out->count}; break;
    }
}

static void read_level(reader *r, table meta, bs_nn_sparsity *s, int level)
{
    static const int element[] = {0, 4, 2, 1}; /* union members Int32Vector, Uint16Vector, Uint8Vector */
    int format = field_u8(r, meta, 0, 0);
    s->level[level].sparse = format == 1;
    if (format == 0) {
        s->level[level].size = field_i32(r, meta, 1, 0);
        return;
    }
    int segments = field_u8(r, meta, 2, 0), indices = field_u8(r, meta, 4, 0);
    if (format != 1 || segments < 1 || segments > 3 || indices < 1 || indices > 3) {
        complain(r, "a sparse tensor has a format that is not dense or compressed rows");
        return;
    }
    vector v = field_vector(r, field_table(r, meta, 3), 0, (size_t)element[segments]);
    s->level[level].segments = r->d + v.at;
    s->level[level].segment_count = v.count;
    s->level[level].segment_bytes = element[segments];
    v = field_vector(r, field_table(r, meta, 5), 0, (size_t)element[indices]);
    s->level[level].indices = r->d + v.at;
    s->level[level].index_count = v.count;
    s->level[level].index_bytes = element[indices];
}

static void read_sparsity(reader *r, table sparsity, const bs_nn_tensor *tensor, bs_nn_sparsity *s)
{
    vector order = field_vector(r, sparsity, 0, 4), blocks = field_vector(r, sparsity, 1, 4),
           levels = field_vector(r, sparsity, 2, 4);
    s->n = tensor->rank;
    s->k = (int)blocks.count;
    if (blocks.count > 4 || order.count != (uint32_t)(s->n + s->k) || levels.count != order.count) {
        complain(r, "a sparse tensor's description does not fit its shape");
        return;
    }
    memcpy(s->dims, tensor->dims, sizeof(s->dims));
    for (int i = 0; i < s->n + s->k; i++) {
        s->order[i] = vector_i32(r, order, (uint32_t)i);
        read_level(r, vector_table(r, levels, (uint32_t)i), s, i);
    }
    for (int i = 0; i < s->k; i++)
        s->block_map[i] = vector_i32(r, blocks, (uint32_t)i);
}

enum { MAX_DENSIFIED = 128 << 20 }; /* bytes, all together */

/* Blocks of expanded sparse tensors hang on model->densified, each beginning with the pointer to the next. */
static uint8_t *add_densified(bs_nn_model *m, size_t bytes)
{
    void **block = m->memory + bytes <= MAX_DENSIFIED ? calloc(1, sizeof(void *) + bytes) : NULL;
    if (!block)
        return NULL;
    *block = m->densified;
    m->densified = block;
    m->memory += sizeof(void *) + bytes;
    return (uint8_t *)(block + 1);
}

static void read_sparse_weights(reader *r, bs_nn_model *m, table sparsity, bs_nn_tensor *t, int index)
{
    bs_nn_sparsity s = {0};
    read_sparsity(r, sparsity, t, &s);
    if (r->complaint[0])
        return;
    int bytes = type_bytes(t->type);
    if ((t->type != TYPE_F16 && t->type != TYPE_F32) || t->bytes % (size_t)bytes) {
        complain(r, "tensor %d is sparse, but not of half or single precision", index);
        return;
    }
    size_t value_count = t->bytes / (size_t)bytes;
    bs_nn_weights *w = &t->weights;
    *w = (bs_nn_weights){.data = t->data, .value_bytes = (uint8_t)bytes, .count = t->count};
    if (bs_nn_is_plain_rows(&s)) {
        w->segments = s.level[3].segments;
        w->indices = s.level[3].indices;
        w->segment_bytes = (uint8_t)s.level[3].segment_bytes;
        w->index_bytes = (uint8_t)s.level[3].index_bytes;
        w->rows = s.dims[0];
        w->columns = s.dims[3];
        if (!bs_nn_rows_are_sound(&s, value_count))
            complain(r, "tensor %d is sparse, and its indices do not fit its shape", index);
        return;
    }
    uint8_t *out = add_densified(m, t->count * (size_t)bytes);
    if (!out)
        complain(r, "there is no memory to expand tensor %d", index);
    else if (!bs_nn_densify(&s, t->data, value_count, bytes, out))
        complain(r, "tensor %d is sparse, and its indices do not fit its shape", index);
    w->data = out;
}

static void read_tensor(reader *r, bs_nn_model *m, table t, vector buffers, int index)
{
    bs_nn_tensor *out = &m->tensors[index];
    read_shape(r, t, out, index);
    out->type = field_u8(r, t, 1, 0);
    uint32_t buffer = (uint32_t)field_i32(r, t, 2, 0);
    if (r->complaint[0])
        return;
    if (buffer >= buffers.count) {
        complain(r, "tensor %d names buffer %u of %u", index, buffer, buffers.count);
        return;
    }
    vector data = field_vector(r, vector_table(r, buffers, buffer), 0, 1);
    if (r->complaint[0] || !data.count)
        return;
    out->data = r->d + data.at;
    out->bytes = data.count;
    table sparsity = field_table(r, t, 6);
    if (sparsity.at) {
        read_sparse_weights(r, m, sparsity, out, index);
    } else if (out->bytes != out->count * (size_t)type_bytes(out->type)) {
        complain(r, "tensor %d has %zu bytes of data, which is not what its shape and type need", index, out->bytes);
    } else if (out->type == TYPE_F16 || out->type == TYPE_F32) {
        out->weights = (bs_nn_weights){
            .data = out->data, .value_bytes = (uint8_t)type_bytes(out->type), .count = out->count};
    }
}

/* --- Operators ------------------------------------------------------------------------------------- */

enum { /* the file's builtin codes */
       CODE_ADD = 0,
       CODE_CONCATENATION = 2,
       CODE_CONV_2D = 3,
       CODE_DEPTHWISE_CONV_2D = 4,
       CODE_DEPTH_TO_SPACE = 5,
       CODE_DEQUANTIZE = 6,
       CODE_LOGISTIC = 14,
       CODE_MAX_POOL_2D = 17,
       CODE_RESHAPE = 22,
       CODE_RESIZE_BILINEAR = 23,
       CODE_PAD = 34,
       CODE_DENSIFY = 124
};

typedef struct op_reader {
    reader *r;
    bs_nn_model *m;
    bool *made; /* per tensor: a constant, the input, or the result of an operator before this one */
    table options;
    vector inputs;
    int index;
} op_reader;

/* Input i of the operator: a tensor that exists by now, or -1 after a complaint. */
static int op_input(op_reader *o, uint32_t i)
{
    int32_t t = i < o->inputs.count ? vector_i32(o->r, o->inputs, i) : -1;
    if (t >= 0 && t < o->m->tensor_count && (o->made[t] || o->m->tensors[t].data))
        return t;
    complain(o->r, "operator %d reads a tensor that nothing before it makes", o->index);
    return -1;
}

static int op_activation_input(op_reader *o, uint32_t i)
{
    int t = op_input(o, i);
    if (t >= 0 && (!o->made[t] || o->m->tensors[t].type != TYPE_F32)) {
        complain(o->r, "operator %d does not get the float32 activations that it needs", o->index);
        return -1;
    }
    return t;
}

static int op_constant_input(op_reader *o, uint32_t i)
{
    int t = op_input(o, i);
    if (t >= 0 && !o->m->tensors[t].weights.data) {
        complain(o->r, "operator %d does not get the constant weights that it needs", o->index);
        return -1;
    }
    return t;
}

static void read_activation(op_reader *o, bs_nn_op *op, unsigned field_index)
{
    int activation = field_u8(o->r, o->options, field_index, 0);
    op->low = -INFINITY;
    op->high = INFINITY;
    switch (activation) {
    case 0: break;
    case 1: op->low = 0; break;
    case 2: op->low = -1, op->high = 1; break;
    case 3: op->low = 0, op->high = 6; break;
    default: complain(o->r, "operator %d has activation %d, which is not supported", o->index, activation);
    }
}

/* Batch 1: a tensor has no more elements than one image of its shape. */
static bool is_single(const bs_nn_tensor *t)
{
    return t->count == (size_t)t->shape.height * (size_t)t->shape.width * (size_t)t->shape.channels;
}

static bool same_shape(bs_nn_shape a, bs_nn_shape b)
{
    return a.height == b.height && a.width == b.width && a.channels == b.channels;
}

static void expect_shape(op_reader *o, const bs_nn_op *op, int height, int width, int channels)
{
    bs_nn_shape s = o->m->tensors[op->output].shape;
    if (!same_shape(s, (bs_nn_shape){height, width, channels}))
        complain(o->r, "operator %d makes %d × %d × %d, but its tensor is %d × %d × %d", o->index, height, width,
                 channels, s.height, s.width, s.channels);
}

/* Output size and padding before and after of one axis (tensorflow/lite/kernels/padding.h). */
static int window_size(int in, int kernel, int stride, bool same, int *before, int *after)
{
    *before = *after = 0;
    if (!same)
        return in < kernel ? 0 : (in - kernel) / stride + 1;
    int out = (in - 1) / stride + 1, total = (out - 1) * stride + kernel - in;
    if (total > 0) {
        *before = total / 2;
        *after = total - total / 2;
    }
    return out;
}

/* Stride, padding and output shape of what moves a window over an image. */
static void read_window(op_reader *o, bs_nn_op *op, int channels)
{
    bs_nn_shape in = o->m->tensors[op->input].shape;
    int padding = field_u8(o->r, o->options, 0, 0);
    op->stride_w = field_i32(o->r, o->options, 1, 0);
    op->stride_h = field_i32(o->r, o->options, 2, 0);
    if (op->stride_w < 1 || op->stride_w > 8 || op->stride_h < 1 || op->stride_h > 8 || padding > 1 ||
        op->kernel_h < 1 || op->kernel_h > 64 || op->kernel_w < 1 || op->kernel_w > 64) {
        complain(o->r, "operator %d has a stride, padding or kernel size that is not supported", o->index);
        return;
    }
    int h = window_size(in.height, op->kernel_h, op->stride_h, padding == 0, &op->pad[0], &op->pad[1]);
    int w = window_size(in.width, op->kernel_w, op->stride_w, padding == 0, &op->pad[2], &op->pad[3]);
    expect_shape(o, op, h, w, channels);
}

static void read_conv(op_reader *o, bs_nn_op *op, bool depthwise)
{
    op->input = op_activation_input(o, 0);
    op->weights = op_constant_input(o, 1);
    op->bias = o->inputs.count > 2 && vector_i32(o->r, o->inputs, 2) != -1 ? op_constant_input(o, 2) : -1;
    if (o->r->complaint[0])
        return;
    const bs_nn_tensor *w = &o->m->tensors[op->weights], *bias = op->bias < 0 ? NULL : &o->m->tensors[op->bias];
    bs_nn_shape in = o->m->tensors[op->input].shape;
    int outputs = depthwise ? w->dims[3] : w->dims[0];
    bool agree = w->rank == 4 && w->dims[3] == in.channels && (!depthwise || w->dims[0] == 1) &&
                 (!bias || (bias->count == (size_t)outputs && !bias->weights.segments)) &&
                 !(depthwise && w->weights.segments);
    if (!agree) {
        complain(o->r, "operator %d has weights that do not fit its input", o->index);
        return;
    }
    if (depthwise && field_i32(o->r, o->options, 3, 0) > 1)
        complain(o->r, "operator %d has a depth multiplier, which is not supported", o->index);
    unsigned dilation = depthwise ? 5 : 4;
    if (field_i32(o->r, o->options, dilation, 1) != 1 || field_i32(o->r, o->options, dilation + 1, 1) != 1)
        complain(o->r, "operator %d is dilated, which is not supported", o->index);
    op->kernel_h = w->dims[1];
    op->kernel_w = w->dims[2];
    read_activation(o, op, depthwise ? 4 : 3);
    read_window(o, op, outputs);
}

static void read_pool(op_reader *o, bs_nn_op *op)
{
    op->input = op_activation_input(o, 0);
    if (o->r->complaint[0])
        return;
    op->kernel_w = field_i32(o->r, o->options, 3, 0);
    op->kernel_h = field_i32(o->r, o->options, 4, 0);
    read_activation(o, op, 5);
    read_window(o, op, o->m->tensors[op->input].shape.channels);
}

static void read_add(op_reader *o, bs_nn_op *op)
{
    op->input = op_activation_input(o, 0);
    op->input2 = op_activation_input(o, 1);
    if (o->r->complaint[0])
        return;
    bs_nn_shape a = o->m->tensors[op->input].shape;
    if (!same_shape(a, o->m->tensors[op->input2].shape))
        complain(o->r, "operator %d adds tensors of different shapes, which is not supported", o->index);
    read_activation(o, op, 0);
    expect_shape(o, op, a.height, a.width, a.channels);
}

static void read_pad(op_reader *o, bs_nn_op *op)
{
    op->input = op_activation_input(o, 0);
    int t = op_input(o, 1);
    if (o->r->complaint[0])
        return;
    const bs_nn_tensor *pads = &o->m->tensors[t];
    bs_nn_shape in = o->m->tensors[op->input].shape;
    if (!pads->data || pads->type != TYPE_I32 || pads->count != 8 || pads->weights.data) {
        complain(o->r, "operator %d pads by something that is not a constant 4 × 2 table", o->index);
        return;
    }
    int32_t p[8];
    for (int i = 0; i < 8; i++)
        p[i] = (int32_t)bs_nn_index(pads->data, 4, (size_t)i);
    for (int i = 0; i < 8; i++)
        if (p[i] < 0 || p[i] > 4096 || (i < 2 && p[i]))
            complain(o->r, "operator %d pads by %d, which is not supported", o->index, (int)p[i]);
    if (o->r->complaint[0])
        return;
    for (int i = 0; i < 6; i++)
        op->pad[i] = p[i + 2];
    expect_shape(o, op, in.height + p[2] + p[3], in.width + p[4] + p[5], in.channels + p[6] + p[7]);
}

static void read_simple(op_reader *o, bs_nn_op *op)
{
    op->input = op_activation_input(o, 0);
    if (o->r->complaint[0])
        return;
    bs_nn_shape in = o->m->tensors[op->input].shape;
    switch (op->kind) {
    case BS_NN_RESIZE:
        if (field_u8(o->r, o->options, 2, 0) || !field_u8(o->r, o->options, 3, 0))
            complain(o->r, "operator %d resizes without half-pixel centres, which is not supported", o->index);
        expect_shape(o, op, in.height * 2, in.width * 2, in.channels);
        break;
    case BS_NN_DEPTH_TO_SPACE:
        op->block = field_i32(o->r, o->options, 0, 0);
        if (op->block < 1 || op->block > 64 || in.channels % (op->block * op->block)) {
            complain(o->r, "operator %d has a block size that does not divide its channels", o->index);
            return;
        }
        expect_shape(o, op, in.height * op->block, in.width * op->block, in.channels / op->block / op->block);
        break;
    case BS_NN_RESHAPE:
        if (o->m->tensors[op->output].count != o->m->tensors[op->input].count)
            complain(o->r, "operator %d changes the number of elements", o->index);
        break;
    default: expect_shape(o, op, in.height, in.width, in.channels);
    }
}

static void read_concat(op_reader *o, bs_nn_op *op)
{
    const bs_nn_tensor *out = &o->m->tensors[op->output];
    int axis = field_i32(o->r, o->options, 0, 0);
    axis += axis < 0 ? out->rank : 0;
    read_activation(o, op, 1);
    if (axis < 0 || axis >= out->rank || op->high != INFINITY || op->low != -INFINITY) {
        complain(o->r, "operator %d concatenates in a way that is not supported", o->index);
        return;
    }
    size_t total = 0;
    op->first = o->m->list_count;
    for (uint32_t i = 0; i < o->inputs.count; i++) {
        int t = op_activation_input(o, i);
        if (t < 0)
            return;
        const bs_nn_tensor *in = &o->m->tensors[t];
        bool fits = in->rank == out->rank;
        for (int d = 0; d < out->rank; d++)
            fits = fits && (d == axis || (in->dims[d] == out->dims[d] && (d > axis || in->dims[d] == 1)));
        if (!fits) {
            complain(o->r, "operator %d concatenates pieces that are not contiguous in the result", o->index);
            return;
        }
        total += in->count;
        o->m->lists[o->m->list_count++] = t;
        op->inputs++;
    }
    if (total != out->count)
        complain(o->r, "operator %d concatenates to another size than its result has", o->index);
}

/* DENSIFY and DEQUANTIZE do nothing here: their result is the same constant, read by whoever uses it. */
static void read_constant_chain(op_reader *o, int output)
{
    int t = op_constant_input(o, 0);
    if (t < 0)
        return;
    bs_nn_tensor *in = &o->m->tensors[t], *out = &o->m->tensors[output];
    if (out->data || out->weights.data || out->count != in->count || out->rank != in->rank ||
        memcmp(out->dims, in->dims, sizeof(out->dims))) {
        complain(o->r, "operator %d converts a constant into a tensor of another shape", o->index);
        return;
    }
    out->weights = in->weights;
    o->made[output] = false;
    out->data = in->data;
}

static bs_nn_kind kind_of(int code)
{
    switch (code) {
    case CODE_ADD: return BS_NN_ADD;
    case CODE_CONCATENATION: return BS_NN_CONCAT;
    case CODE_CONV_2D: return BS_NN_CONV;
    case CODE_DEPTHWISE_CONV_2D: return BS_NN_DEPTHWISE;
    case CODE_DEPTH_TO_SPACE: return BS_NN_DEPTH_TO_SPACE;
    case CODE_LOGISTIC: return BS_NN_LOGISTIC;
    case CODE_MAX_POOL_2D: return BS_NN_MAX_POOL;
    case CODE_RESHAPE: return BS_NN_RESHAPE;
    case CODE_RESIZE_BILINEAR: return BS_NN_RESIZE;
    case CODE_PAD: return BS_NN_PAD;
    default: return BS_NN_KINDS;
    }
}

/* The union member of builtin_options that belongs to an operator; 0: none is needed. */
static int options_type_of(int code)
{
    switch (code) {
    case CODE_CONV_2D: return 1;
    case CODE_DEPTHWISE_CONV_2D: return 2;
    case CODE_MAX_POOL_2D: return 5;
    case CODE_CONCATENATION: return 10;
    case CODE_ADD: return 11;
    case CODE_RESIZE_BILINEAR: return 15;
    case CODE_DEPTH_TO_SPACE: return 94;
    default: return 0;
    }
}

static void read_op(op_reader *o, table t, int code)
{
    int wanted = options_type_of(code);
    vector outputs = field_vector(o->r, t, 2, 4);
    int32_t output = outputs.count == 1 ? vector_i32(o->r, outputs, 0) : -1;
    o->inputs = field_vector(o->r, t, 1, 4);
    if (o->r->complaint[0])
        return;
    if (output < 0 || output >= o->m->tensor_count || o->made[output] || o->m->tensors[output].data) {
        complain(o->r, "operator %d has a result that something else makes as well", o->index);
        return;
    }
    if (wanted && field_u8(o->r, t, 3, 0) != wanted) {
        complain(o->r, "operator %d lacks its options", o->index);
        return;
    }
    o->options = wanted ? field_table(o->r, t, 4) : (table){0};
    if (code == CODE_DEQUANTIZE || code == CODE_DENSIFY) {
        read_constant_chain(o, output);
        return;
    }
    bs_nn_op *op = &o->m->ops[o->m->op_count];
    *op = (bs_nn_op){.kind = kind_of(code),
                     .input = -1,
                     .input2 = -1,
                     .weights = -1,
                     .bias = -1,
                     .output = output,
                     .low = -INFINITY,
                     .high = INFINITY};
    switch (op->kind) {
    case BS_NN_CONV: read_conv(o, op, false); break;
    case BS_NN_DEPTHWISE: read_conv(o, op, true); break;
    case BS_NN_MAX_POOL: read_pool(o, op); break;
    case BS_NN_ADD: read_add(o, op); break;
    case BS_NN_PAD: read_pad(o, op); break;
    case BS_NN_CONCAT: read_concat(o, op); break;
    case BS_NN_KINDS: complain(o->r, "operator %d is of kind %d, which is not supported", o->index, code); return;
    default: read_simple(o, op); break;
    }
    if (o->m->tensors[output].type != TYPE_F32 || !is_single(&o->m->tensors[output]))
        complain(o->r, "operator %d makes something else than float32 of batch size 1", o->index);
    o->made[output] = true;
    o->m->op_count++;
}

/* --- The file -------------------------------------------------------------------------------------- */

static void read_operators(reader *r, bs_nn_model *m, table root, table subgraph, bool *made)
{
    vector codes = field_vector(r, root, 1, 4), operators = field_vector(r, subgraph, 3, 4);
    op_reader o = {.r = r, .m = m, .made = made};
    for (uint32_t i = 0; i < operators.count && !r->complaint[0]; i++) {
        table t = vector_table(r, operators, i);
        uint32_t code_index = (uint32_t)field_i32(r, t, 0, 0);
        if (r->complaint[0] || code_index >= codes.count) {
            complain(r, "operator %u has no kind", i);
            return;
        }
        table code = vector_table(r, codes, code_index);
        int old = field_u8(r, code, 0, 0), now = field_i32(r, code, 3, 0);
        o.index = (int)i;
        if (!r->complaint[0])
            read_op(&o, t, now > old ? now : old);
    }
}

static void read_ends(reader *r, bs_nn_model *m, table subgraph, bool *made)
{
    vector inputs = field_vector(r, subgraph, 1, 4), outputs = field_vector(r, subgraph, 2, 4);
    int32_t input = inputs.count == 1 ? vector_i32(r, inputs, 0) : -1;
    if (input < 0 || input >= m->tensor_count || m->tensors[input].data || m->tensors[input].type != TYPE_F32 ||
        !is_single(&m->tensors[input])) {
        complain(r, "it does not have one float32 input of batch size 1");
        return;
    }
    m->input = input;
    made[input] = true;
    if (outputs.count < 1 || outputs.count > sizeof(m->outputs) / sizeof(m->outputs[0])) {
        complain(r, "it has %u outputs; 1 to 8 are supported", outputs.count);
        return;
    }
    m->output_count = (int)outputs.count;
    for (uint32_t i = 0; i < outputs.count; i++)
        m->outputs[i] = vector_i32(r, outputs, i);
}

static void read_model(reader *r, bs_nn_model *m)
{
    if (r->n < 8 || memcmp(r->d + 4, "TFL3", 4)) {
        complain(r, "it does not begin as one");
        return;
    }
    table root = table_at(r, follow(r, 0));
    vector subgraphs = field_vector(r, root, 2, 4), buffers = field_vector(r, root, 4, 4);
    int32_t version = field_i32(r, root, 0, 0);
    if (!r->complaint[0] && (version != 3 || subgraphs.count != 1))
        complain(r, "it has version %d and %u graphs; version 3 and one graph are supported", (int)version,
                 subgraphs.count);
    table subgraph = r->complaint[0] ? (table){0} : vector_table(r, subgraphs, 0);
    vector tensors = field_vector(r, subgraph, 0, 4), operators = field_vector(r, subgraph, 3, 4);
    if (!r->complaint[0] && (!tensors.count || tensors.count > 65536 || !operators.count || operators.count > 65536))
        complain(r, "it has %u tensors and %u operators; 1 to 65536 are supported", tensors.count, operators.count);
    if (r->complaint[0])
        return;

    /* A CONCAT's list of inputs is a vector of the file; together they are no longer than the file. */
    size_t lists = 0;
    for (uint32_t i = 0; i < operators.count && !r->complaint[0]; i++) {
        lists += field_vector(r, vector_table(r, operators, i), 1, 4).count;
        if (lists > 1 << 20)
            complain(r, "its operators have too many inputs");
    }
    if (r->complaint[0])
        return;
    m->tensor_count = (int)tensors.count;
    m->tensors = calloc(tensors.count, sizeof(*m->tensors));
    m->ops = calloc(operators.count, sizeof(*m->ops));
    m->lists = calloc(lists + 1, sizeof(*m->lists));
    bool *made = calloc(tensors.count, sizeof(*made));
    m->memory += sizeof(*m) + tensors.count * sizeof(*m->tensors) + operators.count * sizeof(*m->ops) +
                 (lists + 1) * sizeof(*m->lists);
    if (!m->tensors || !m->ops || !m->lists || !made) {
        complain(r, "there is no memory to read it");
        free(made);
        return;
    }
    for (uint32_t i = 0; i < tensors.count && !r->complaint[0]; i++)
        read_tensor(r, m, vector_table(r, tensors, i), buffers, (int)i);
    if (!r->complaint[0])
        read_ends(r, m, subgraph, made);
    if (!r->complaint[0])
        read_operators(r, m, root, subgraph, made);
    for (int i = 0; i < m->output_count && !r->complaint[0]; i++)
        if (m->outputs[i] < 0 || m->outputs[i] >= m->tensor_count || !made[m->outputs[i]] || m->outputs[i] == m->input)
            complain(r, "nothing makes its output %d", i);
    free(made);
}

static bs_status open_bytes(bs_nn_model **out, const void *data, size_t size, bool mapped, const char *name,
                            bs_error *err)
{
    bs_nn_model *m = calloc(1, sizeof(*m));
    if (!m)
        return bs_fail(err, BS_ERR_NOMEM, "no memory to read the model '%s'", name);
    m->file = data;
    m->size = size;
    reader r = {.d = data, .n = size};
    read_model(&r, m);
    if (r.complaint[0]) {
        bs_nn_model_close(&m);
        return bs_fail(err, BS_ERR_INPUT, "'%s' is not a usable .tflite model: %s", name, r.complaint);
    }
    m->mapped = mapped;
    *out = m;
    return BS_OK;
}

bs_status bs_nn_model_open_memory(bs_nn_model **out, const void *data, size_t size, bs_error *err)
{
    return open_bytes(out, data, size, false, "(memory)", err);
}

bs_status bs_nn_model_open(bs_nn_model **out, const char *path, bs_error *err)
{
    struct stat st;
    void *data = MAP_FAILED;
    bs_status status = BS_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return bs_fail(err, BS_ERR_INPUT, "cannot open the model '%s': %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 8 || st.st_size > INT32_MAX) {
        status = bs_fail(err, BS_ERR_INPUT, "'%s' is not a .tflite model: not a file of 8 bytes to 2 GB", path);
        goto out;
    }
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        status = bs_fail(err, BS_ERR_IO, "cannot map the model '%s': %s", path, strerror(errno));
        goto out;
    }
    status = open_bytes(out, data, (size_t)st.st_size, true, path, err);
    if (status < 0)
        munmap(data, (size_t)st.st_size);
out:
    close(fd);
    return status;
}

void bs_nn_model_drop_pages(const bs_nn_model *model)
{
    if (model->mapped)
        madvise((void *)model->file, model->size, MADV_DONTNEED);
}

void bs_nn_model_close(bs_nn_model **model)
{
    bs_nn_model *m = *model;
    if (!m)
        return;
    if (m->mapped)
        munmap((void *)m->file, m->size);
    while (m->densified) {
        void **block = m->densified;
        m->densified = *block;
        free(block);
    }
    free(m->tensors);
    free(m->ops);
    free(m->lists);
    free(m);
    *model = NULL;
}

int bs_nn_model_output_count(const bs_nn_model *model)
{
    return model->output_count;
}

bs_nn_shape bs_nn_model_input_shape(const bs_nn_model *model)
{
    return model->tensors[model->input].shape;
}

bs_nn_shape bs_nn_model_output_shape(const bs_nn_model *model, int output)
{
    return model->tensors[model->outputs[output]].shape;
}

const void *bs_nn_model_data(const bs_nn_model *model, size_t *size)
{
    if (size)
        *size = model->size;
    return model->file;
}

size_t bs_nn_model_memory(const bs_nn_model *model)
{
    return model->memory;
}
