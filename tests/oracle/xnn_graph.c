/* See xnn_graph.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthreadpool.h>
#include <xnnpack.h>

#include "nn/kernels.h"
#include "xnn_graph.h"

struct xnn_graph {
    const bs_nn_model *model;
    float **tensors; /* one buffer each: the oracle is not to be clever */
    xnn_operator_t *operators;
    bool *needed;
    pthreadpool_t pool;
};

/* XNNPACK may read a little past the end of what it is given. */
enum { SLACK = 64 };

static float *new_floats(size_t count)
{
    return calloc(count + SLACK, sizeof(float));
}

static float *floats_of(const bs_nn_weights *w, size_t rows, size_t columns)
{
    float *out = new_floats(rows * columns);
    for (size_t r = 0; out && r < rows; r++)
        if (w->data)
            bs_nn_weights_row(w, (int)r, (int)columns, out + r * columns, 1);
    return out;
}

static enum xnn_status make_conv(const bs_nn_step *s, const int pad[4], xnn_operator_t *op, float *out,
                                 pthreadpool_t pool)
{
    const bool depthwise = s->kind == BS_NN_DEPTHWISE;
    const size_t in = (size_t)s->in_shape.channels, outputs = (size_t)s->out_shape.channels;
    const size_t taps = (size_t)s->kernel_h * s->kernel_w;
    float *kernel = depthwise ? floats_of(&s->weights, 1, taps * in) : floats_of(&s->weights, outputs, taps * in);
    float *bias = floats_of(&s->bias, 1, outputs);
    enum xnn_status status = xnn_create_convolution2d_nhwc_f32(
        (uint32_t)pad[0], (uint32_t)pad[3], (uint32_t)pad[1], (uint32_t)pad[2], (uint32_t)s->kernel_h,
        (uint32_t)s->kernel_w, (uint32_t)s->stride_h, (uint32_t)s->stride_w, 1, 1, depthwise ? (uint32_t)in : 1,
        depthwise ? 1 : in, depthwise ? 1 : outputs, in, outputs, kernel, bias, s->low, s->high,
        depthwise ? XNN_FLAG_DEPTHWISE_CONVOLUTION : 0, op);
    free(kernel);
    free(bias);
    if (status == xnn_status_success)
        status = xnn_setup_convolution2d_nhwc_f32(*op, 1, (size_t)s->in_shape.height, (size_t)s->in_shape.width, s->in,
                                                  out, pool);
    return status;
}

static enum xnn_status make_add(const bs_nn_step *s, xnn_operator_t *op, float *out, pthreadpool_t pool)
{
    const size_t shape[] = {(size_t)s->out_shape.height, (size_t)s->out_shape.width, (size_t)s->out_shape.channels};
    enum xnn_status status = xnn_create_add_nd_f32(s->add_low, s->add_high, 0, op);
    return status ? status : xnn_setup_add_nd_f32(*op, 3, shape, 3, shape, s->in, s->other, out, pool);
}

static enum xnn_status make_pad(const bs_nn_step *s, const int pad[6], xnn_operator_t *op, float *out,
                                pthreadpool_t pool)
{
    const float zero = 0;
    const size_t shape[] = {(size_t)s->in_shape.height, (size_t)s->in_shape.width, (size_t)s->in_shape.channels};
    const size_t before[] = {(size_t)pad[0], (size_t)pad[2], (size_t)pad[4]};
    const size_t after[] = {(size_t)pad[1], (size_t)pad[3], (size_t)pad[5]};
    enum xnn_status status = xnn_create_constant_pad_nd_x32(&zero, 0, op);
    return status ? status : xnn_setup_constant_pad_nd_x32(*op, 3, shape, before, after, s->in, out, pool);
}

static enum xnn_status make_resize(const bs_nn_step *s, xnn_operator_t *op, float *out, pthreadpool_t pool)
{
    const size_t channels = (size_t)s->in_shape.channels;
    enum xnn_status status = xnn_create_resize_bilinear2d_nhwc_f32(channels, channels, channels, 0, op);
    return status ? status
                  : xnn_setup_resize_bilinear2d_nhwc_f32(*op, 1, (size_t)s->in_shape.height, (size_t)s->in_shape.width,
                                                         (size_t)s->out_shape.height, (size_t)s->out_shape.width, s->in,
                                                         out, pool);
}

static enum xnn_status make_pool(const bs_nn_step *s, const int pad[4], xnn_operator_t *op, float *out,
                                 pthreadpool_t pool)
{
    const size_t channels = (size_t)s->in_shape.channels;
    enum xnn_status status = xnn_create_max_pooling2d_nhwc_f32(
        (uint32_t)pad[0], (uint32_t)pad[3], (uint32_t)pad[1], (uint32_t)pad[2], (uint32_t)s->kernel_h,
        (uint32_t)s->kernel_w, (uint32_t)s->stride_h, (uint32_t)s->stride_w, 1, 1, channels, channels, channels, s->low,
        s->high, 0, op);
    return status ? status
                  : xnn_setup_max_pooling2d_nhwc_f32(*op, 1, (size_t)s->in_shape.height, (size_t)s->in_shape.width,
                                                     s->in, out, pool);
}

static enum xnn_status make_depth_to_space(const bs_nn_step *s, xnn_operator_t *op, float *out, pthreadpool_t pool)
{
    enum xnn_status status = xnn_create_depth_to_space_nhwc_x32(
        (size_t)s->out_shape.channels, (size_t)s->in_shape.channels, (size_t)s->out_shape.channels, (uint32_t)s->block,
        0, op);
    return status ? status
                  : xnn_setup_depth_to_space_nhwc_x32(*op, 1, (size_t)s->in_shape.height, (size_t)s->in_shape.width,
                                                      s->in, out, pool);
}

static enum xnn_status make_logistic(const bs_nn_step *s, xnn_operator_t *op, float *out, pthreadpool_t pool)
{
    const size_t count = (size_t)s->in_shape.height * s->in_shape.width * s->in_shape.channels;
    enum xnn_status status = xnn_create_sigmoid_nc_f32(count, count, count, 0, op);
    return status ? status : xnn_setup_sigmoid_nc_f32(*op, 1, s->in, out, pool);
}

static enum xnn_status make_operator(const bs_nn_step *s, const int pad[6], xnn_operator_t *op, float *out,
                                     pthreadpool_t pool)
{
    switch (s->kind) {
    case BS_NN_CONV:
    case BS_NN_DEPTHWISE: return make_conv(s, pad, op, out, pool);
    case BS_NN_ADD: return make_add(s, op, out, pool);
    case BS_NN_PAD: return make_pad(s, pad, op, out, pool);
    case BS_NN_RESIZE: return make_resize(s, op, out, pool);
    case BS_NN_MAX_POOL: return make_pool(s, pad, op, out, pool);
    case BS_NN_DEPTH_TO_SPACE: return make_depth_to_space(s, op, out, pool);
    case BS_NN_LOGISTIC: return make_logistic(s, op, out, pool);
    default: return xnn_status_unsupported_parameter;
    }
}

static int needed_after(int out, int kernel, int stride, int before, int in)
{
    int after = (out - 1) * stride + kernel - before - in;
    return after > 0 ? after : 0;
}

bool xnn_step_run(const bs_nn_step *s, float *out)
{
    xnn_operator_t op = NULL;
    const bool window = s->kernel_h > 0;
    const int bottom = window
                           ? needed_after(s->out_shape.height, s->kernel_h, s->stride_h, s->pad_top, s->in_shape.height)
                           : s->out_shape.height - s->in_shape.height - s->pad_top;
    const int right = window
                          ? needed_after(s->out_shape.width, s->kernel_w, s->stride_w, s->pad_left, s->in_shape.width)
                          : s->out_shape.width - s->in_shape.width - s->pad_left;
    const int pad[6] = {s->pad_top, bottom,          s->pad_left,
                        right,      s->pad_channels, s->out_shape.channels - s->in_shape.channels - s->pad_channels};
    enum xnn_status status = xnn_initialize(NULL);
    if (!status)
        status = make_operator(s, pad, &op, out, NULL);
    if (!status)
        status = xnn_run_operator(op, NULL);
    xnn_delete_operator(op);
    return status == xnn_status_success;
}

/* --- Whole models -------------------------------------------------------------------------------------- */

static int input_count(const bs_nn_op *op)
{
    return op->kind == BS_NN_CONCAT ? op->inputs : op->input2 >= 0 ? 2 : 1;
}

static int input_of(const bs_nn_model *m, const bs_nn_op *op, int i)
{
    return op->kind == BS_NN_CONCAT ? m->lists[op->first + i] : i ? op->input2 : op->input;
}

static bool open_operator(xnn_graph *g, int i)
{
    const bs_nn_model *m = g->model;
    const bs_nn_op *op = &m->ops[i];
    if (op->kind == BS_NN_CONCAT || op->kind == BS_NN_RESHAPE)
        return true;
    bs_nn_step s = {.kind = op->kind,
                    .kernel_h = op->kernel_h,
                    .kernel_w = op->kernel_w,
                    .stride_h = op->stride_h,
                    .stride_w = op->stride_w,
                    .block = op->block,
                    .low = op->low,
                    .high = op->high,
                    .add_low = op->low,
                    .add_high = op->high};
    s.in_shape = m->tensors[op->input].shape;
    s.out_shape = m->tensors[op->output].shape;
    s.in = g->tensors[op->input];
    s.other = op->input2 >= 0 ? g->tensors[op->input2] : NULL;
    if (op->weights >= 0)
        s.weights = m->tensors[op->weights].weights;
    if (op->bias >= 0)
        s.bias = m->tensors[op->bias].weights;
    enum xnn_status status = make_operator(&s, op->pad, &g->operators[i], g->tensors[op->output], g->pool);
    if (status)
        fprintf(stderr, "XNNPACK refuses operator %d of kind %d: status %d\n", i, op->kind, status);
    return status == xnn_status_success;
}

static void mark_needed(xnn_graph *g, unsigned outputs, bool *wanted)
{
    const bs_nn_model *m = g->model;
    for (int i = 0; i < m->output_count; i++)
        if (!outputs || (outputs >> i & 1))
            wanted[m->outputs[i]] = true;
    for (int i = m->op_count - 1; i >= 0; i--) {
        g->needed[i] = wanted[m->ops[i].output];
        for (int k = 0; g->needed[i] && k < input_count(&m->ops[i]); k++)
            wanted[input_of(m, &m->ops[i], k)] = true;
    }
}

xnn_graph *xnn_graph_open(const bs_nn_model *m, unsigned outputs, int threads)
{
    xnn_graph *g = calloc(1, sizeof(*g));
    bool *wanted = calloc((size_t)m->tensor_count, sizeof(*wanted));
    bool ok = g && wanted && xnn_initialize(NULL) == xnn_status_success;
    if (g) {
        g->model = m;
        g->tensors = calloc((size_t)m->tensor_count, sizeof(*g->tensors));
        g->operators = calloc((size_t)m->op_count, sizeof(xnn_operator_t));
        g->needed = calloc((size_t)m->op_count, sizeof(*g->needed));
        g->pool = threads > 1 ? pthreadpool_create((size_t)threads) : NULL;
        ok = ok && g->tensors && g->operators && g->needed;
    }
    if (ok) {
        mark_needed(g, outputs, wanted);
        wanted[m->input] = true;
        for (int t = 0; ok && t < m->tensor_count; t++)
            if (wanted[t] && !(g->tensors[t] = new_floats(m->tensors[t].count)))
                ok = false;
        for (int i = 0; ok && i < m->op_count; i++)
            ok = !g->needed[i] || open_operator(g, i);
    }
    free(wanted);
    if (!ok) {
        xnn_graph_close(g);
        return NULL;
    }
    return g;
}

void xnn_graph_close(xnn_graph *g)
{
    if (!g)
        return;
    for (int i = 0; g->operators && i < g->model->op_count; i++)
        if (g->operators[i])
            xnn_delete_operator(g->operators[i]);
    for (int t = 0; g->tensors && t < g->model->tensor_count; t++)
        free(g->tensors[t]);
    if (g->pool)
        pthreadpool_destroy(g->pool);
    free(g->tensors);
    free(g->operators);
    free(g->needed);
    free(g);
}

float *xnn_graph_input(xnn_graph *g)
{
    return g->tensors[g->model->input];
}

static void copy_pieces(xnn_graph *g, const bs_nn_op *op)
{
    float *out = g->tensors[op->output];
    for (int k = 0; k < input_count(op); k++) {
        int t = input_of(g->model, op, k);
        memcpy(out, g->tensors[t], sizeof(float) * g->model->tensors[t].count);
        out += g->model->tensors[t].count;
    }
}

bool xnn_graph_run(xnn_graph *g)
{
    for (int i = 0; i < g->model->op_count; i++) {
        if (!g->needed[i])
            continue;
        if (!g->operators[i])
            copy_pieces(g, &g->model->ops[i]);
        else if (xnn_run_operator(g->operators[i], g->pool) != xnn_status_success)
            return false;
    }
    return true;
}

const float *xnn_graph_output(const xnn_graph *g, int output)
{
    return g->tensors[g->model->outputs[output]];
}
