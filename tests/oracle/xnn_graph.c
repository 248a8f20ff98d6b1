/* See xnn_graph.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthreadpool.h>
#include <xnnpack.h>

#include "nn/kernels.h"
#include "xnn_graph.h"

/* Debian 13's version has newer names for sums and sigmoids beside those that both versions know. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct xnn_graph {
    const bs_nn_model *model;
    float **tensors;         /* one buffer each: the oracle is not to be clever */
    xnn_runtime_t *runtimes; /* one for each operator */
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

/* The weights and the bias of one step, as XNNPACK wants them; it keeps copies of its own. */
typedef struct step_weights {
    float *kernel, *bias;
} step_weights;

static enum xnn_status define_tensor(xnn_subgraph_t graph, bs_nn_shape shape, uint32_t external, uint32_t flags)
{
    const size_t dims[] = {1, (size_t)shape.height, (size_t)shape.width, (size_t)shape.channels};
    uint32_t id;
    return xnn_define_tensor_value(graph, xnn_datatype_fp32, 4, dims, NULL, external, flags, &id);
}

static enum xnn_status define_constant(xnn_subgraph_t graph, size_t dim_count, const size_t *dims, const float *data,
                                       uint32_t *id)
{
    return xnn_define_tensor_value(graph, xnn_datatype_fp32, dim_count, dims, data, XNN_INVALID_VALUE_ID, 0, id);
}

/* The numbers by which a step's pictures are known to XNNPACK. */
enum { INPUT, OTHER_INPUT, OUTPUT, EXTERNALS };

static enum xnn_status define_conv(xnn_subgraph_t graph, const bs_nn_step *s, const int pad[4], step_weights *w)
{
    const bool depthwise = s->kind == BS_NN_DEPTHWISE;
    const size_t in = (size_t)s->in_shape.channels, outputs = (size_t)s->out_shape.channels;
    const size_t taps = (size_t)s->kernel_h * s->kernel_w;
    const size_t dims[] = {depthwise ? 1 : outputs, (size_t)s->kernel_h, (size_t)s->kernel_w, in};
    uint32_t kernel, bias;
    w->kernel = floats_of(&s->weights, dims[0], taps * in);
    w->bias = floats_of(&s->bias, 1, outputs);
    enum xnn_status status = define_constant(graph, 4, dims, w->kernel, &kernel);
    if (!status)
        status = define_constant(graph, 1, &outputs, w->bias, &bias);
    if (status)
        return status;
    if (depthwise)
        return xnn_define_depthwise_convolution_2d(graph, (uint32_t)pad[0], (uint32_t)pad[3], (uint32_t)pad[1],
                                                   (uint32_t)pad[2], (uint32_t)s->kernel_h, (uint32_t)s->kernel_w,
                                                   (uint32_t)s->stride_h, (uint32_t)s->stride_w, 1, 1, 1, in, s->low,
                                                   s->high, INPUT, kernel, bias, OUTPUT, 0);
    return xnn_define_convolution_2d(graph, (uint32_t)pad[0], (uint32_t)pad[3], (uint32_t)pad[1], (uint32_t)pad[2],
                                     (uint32_t)s->kernel_h, (uint32_t)s->kernel_w, (uint32_t)s->stride_h,
                                     (uint32_t)s->stride_w, 1, 1, 1, in, outputs, s->low, s->high, INPUT, kernel, bias,
                                     OUTPUT, 0);
}

static enum xnn_status define_pad(xnn_subgraph_t graph, const int pad[6])
{
    const size_t before[] = {0, (size_t)pad[0], (size_t)pad[2], (size_t)pad[4]};
    const size_t after[] = {0, (size_t)pad[1], (size_t)pad[3], (size_t)pad[5]};
    return xnn_define_static_constant_pad(graph, before, after, 0, INPUT, OUTPUT, 0);
}

static enum xnn_status define_step(xnn_subgraph_t graph, const bs_nn_step *s, const int pad[6], step_weights *w)
{
    switch (s->kind) {
    case BS_NN_CONV:
    case BS_NN_DEPTHWISE: return define_conv(graph, s, pad, w);
    case BS_NN_ADD: return xnn_define_add2(graph, s->add_low, s->add_high, INPUT, OTHER_INPUT, OUTPUT, 0);
    case BS_NN_PAD: return define_pad(graph, pad);
    case BS_NN_RESIZE:
        return xnn_define_static_resize_bilinear_2d(graph, (size_t)s->out_shape.height, (size_t)s->out_shape.width,
                                                    INPUT, OUTPUT, 0);
    case BS_NN_MAX_POOL:
        return xnn_define_max_pooling_2d(graph, (uint32_t)pad[0], (uint32_t)pad[3], (uint32_t)pad[1], (uint32_t)pad[2],
                                         (uint32_t)s->kernel_h, (uint32_t)s->kernel_w, (uint32_t)s->stride_h,
                                         (uint32_t)s->stride_w, 1, 1, s->low, s->high, INPUT, OUTPUT, 0);
    case BS_NN_DEPTH_TO_SPACE: return xnn_define_depth_to_space(graph, INPUT, OUTPUT, (uint32_t)s->block, 0);
    case BS_NN_LOGISTIC: return xnn_define_sigmoid(graph, INPUT, OUTPUT, 0);
    default: return xnn_status_unsupported_parameter;
    }
}

/* One step as a graph of XNNPACK's own: of its interfaces the one that all versions share. */
static enum xnn_status open_step(const bs_nn_step *s, const int pad[6], float *out, pthreadpool_t pool,
                                 xnn_runtime_t *runtime)
{
    const bool two = s->kind == BS_NN_ADD;
    /* The buffers that the step reads are not written through these pointers. */
    const struct xnn_external_value values[] = {
        {INPUT, (void *)(uintptr_t)s->in}, {OUTPUT, out}, {OTHER_INPUT, (void *)(uintptr_t)s->other}};
    step_weights weights = {0};
    xnn_subgraph_t graph = NULL;
    enum xnn_status status = xnn_create_subgraph(EXTERNALS, 0, &graph);
    if (!status)
        status = define_tensor(graph, s->in_shape, INPUT, XNN_VALUE_FLAG_EXTERNAL_INPUT);
    if (!status && two)
        status = define_tensor(graph, s->in_shape, OTHER_INPUT, XNN_VALUE_FLAG_EXTERNAL_INPUT);
    if (!status)
        status = define_tensor(graph, s->out_shape, OUTPUT, XNN_VALUE_FLAG_EXTERNAL_OUTPUT);
    if (!status)
        status = define_step(graph, s, pad, &weights);
    if (!status)
        status = xnn_create_runtime_v2(graph, pool, 0, runtime);
    if (!status)
        status = xnn_setup_runtime(*runtime, two ? 3 : 2, values);
    xnn_delete_subgraph(graph);
    free(weights.kernel);
    free(weights.bias);
    return status;
}

static int needed_after(int out, int kernel, int stride, int before, int in)
{
    int after = (out - 1) * stride + kernel - before - in;
    return after > 0 ? after : 0;
}

bool xnn_step_run(const bs_nn_step *s, float *out)
{
    xnn_runtime_t runtime = NULL;
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
        status = open_step(s, pad, out, NULL, &runtime);
    if (!status)
        status = xnn_invoke_runtime(runtime);
    xnn_delete_runtime(runtime);
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
    enum xnn_status status = open_step(&s, op->pad, g->tensors[op->output], g->pool, &g->runtimes[i]);
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
        g->runtimes = calloc((size_t)m->op_count, sizeof(*g->runtimes));
        g->needed = calloc((size_t)m->op_count, sizeof(*g->needed));
        g->pool = threads > 1 ? pthreadpool_create((size_t)threads) : NULL;
        ok = ok && g->tensors && g->runtimes && g->needed;
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
    for (int i = 0; g->runtimes && i < g->model->op_count; i++)
        if (g->runtimes[i])
            xnn_delete_runtime(g->runtimes[i]);
    for (int t = 0; g->tensors && t < g->model->tensor_count; t++)
        free(g->tensors[t]);
    if (g->pool)
        pthreadpool_destroy(g->pool);
    free(g->tensors);
    free(g->runtimes);
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
        if (!g->runtimes[i])
            copy_pieces(g, &g->model->ops[i]);
        else if (xnn_invoke_runtime(g->runtimes[i]) != xnn_status_success)
            return false;
    }
    return true;
}

const float *xnn_graph_output(const xnn_graph *g, int output)
{
    return g->tensors[g->model->outputs[output]];
}
