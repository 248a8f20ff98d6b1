/* From a graph to a plan (plan.h). Four passes: which operators are needed and which of them vanish into others;
 * the steps; which of these are linked; and the packing of all tensors into one arena by their lifetimes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum { NOWHERE = -1, FOREVER = 1 << 30, ALIGN_FLOATS = 16 };

/* What the planner knows about a tensor. A tensor may lie within another one (`within`, at `offset` floats):
 * the result of RESHAPE within its source, a piece within its concatenation, a sum within its addend. */
typedef struct value {
    int producer; /* operator, NOWHERE: the graph's input or a constant */
    int uses;     /* by needed operators, and 1 if it is a wanted output */
    bool wanted;  /* output */
    int within;
    size_t offset;
    int first, last; /* steps; of the whole group, kept at its root */
    size_t at;
} value;

typedef struct fate {
    bool needed, gone; /* gone: it is part of another operator */
    int add;           /* the ADD that this one performs too, at its place, or NOWHERE */
    int addend;        /* tensor */
    int made_by;       /* of an ADD that is gone: the operator that performs it */
} fate;

typedef struct planner {
    const bs_nn_model *m;
    value *values;
    fate *fates;
    bs_nn_plan *plan;
    int (*step_tensors)[3]; /* per step: in, other, out */
} planner;

/* --- What is needed, and what vanishes ----------------------------------------------------------------- */

static int input_count(const bs_nn_op *op)
{
    return op->kind == BS_NN_CONCAT ? op->inputs : op->input2 >= 0 ? 2 : 1;
}

static int input_of(const planner *p, const bs_nn_op *op, int i)
{
    return op->kind == BS_NN_CONCAT ? p->m->lists[op->first + i] : i ? op->input2 : op->input;
}

static void find_needed(planner *p, unsigned outputs)
{
    const bs_nn_model *m = p->m;
    for (int t = 0; t < m->tensor_count; t++)
        p->values[t] = (value){.producer = NOWHERE, .within = NOWHERE};
    for (int i = 0; i < m->op_count; i++) {
        p->fates[i] = (fate){.add = NOWHERE, .addend = NOWHERE};
        p->values[m->ops[i].output].producer = i;
    }
    for (int i = 0; i < m->output_count; i++) {
        value *v = &p->values[m->outputs[i]];
        if ((outputs >> i & 1) && !v->wanted) {
            v->wanted = true;
            v->uses++;
        }
    }
    for (int i = m->op_count - 1; i >= 0; i--) {
        const bs_nn_op *op = &m->ops[i];
        p->fates[i].needed = p->values[op->output].uses > 0;
        for (int k = 0; p->fates[i].needed && k < input_count(op); k++)
            p->values[input_of(p, op, k)].uses++;
    }
}

static bool is_window_pad(const bs_nn_op *op)
{
    return op->kind == BS_NN_PAD && !op->pad[4] && !op->pad[5];
}

static bool is_channel_pad(const bs_nn_op *op)
{
    return op->kind == BS_NN_PAD && op->pad[5] && !op->pad[0] && !op->pad[1] && !op->pad[2] && !op->pad[3] &&
           !op->pad[4];
}

/* A PAD of rows and columns vanishes if convolutions alone read it: their windows may leave the image. */
static void fold_window_pads(planner *p)
{
    for (int i = 0; i < p->m->op_count; i++) {
        const bs_nn_op *pad = &p->m->ops[i];
        if (!p->fates[i].needed || !is_window_pad(pad) || p->values[pad->output].wanted)
            continue;
        bool foldable = true;
        for (int j = i + 1; j < p->m->op_count; j++)
            for (int k = 0; p->fates[j].needed && k < input_count(&p->m->ops[j]); k++)
                if (input_of(p, &p->m->ops[j], k) == pad->output)
                    foldable &= p->m->ops[j].kind == BS_NN_CONV || p->m->ops[j].kind == BS_NN_DEPTHWISE;
        p->fates[i].gone = foldable;
    }
}

/* The operator that makes `t` and could add something to it before storing it, or NOWHERE. */
static int adder(const planner *p, int t)
{
    int i = p->values[t].producer;
    if (i == NOWHERE || p->values[t].uses != 1 || p->fates[i].gone || p->fates[i].add != NOWHERE)
        return NOWHERE;
    return p->m->ops[i].kind == BS_NN_CONV || p->m->ops[i].kind == BS_NN_RESIZE ? i : NOWHERE;
}

/* A sum is made by the operator of one addend, at the place of the ADD, where the other addend exists. */
static void fold_adds(planner *p)
{
    for (int i = 0; i < p->m->op_count; i++) {
        const bs_nn_op *add = &p->m->ops[i];
        if (!p->fates[i].needed || add->kind != BS_NN_ADD || add->input == add->input2)
            continue;
        int first = adder(p, add->input), second = adder(p, add->input2);
        int into = first > second ? first : second; /* the later one waits less */
        if (into == NOWHERE)
            continue;
        int addend = into == first ? add->input2 : add->input, pad = p->values[addend].producer;
        p->fates[i].gone = true;
        p->fates[i].made_by = into;
        p->fates[into].add = i;
        if (pad != NOWHERE && is_channel_pad(&p->m->ops[pad]) && p->values[addend].uses == 1) {
            p->fates[pad].gone = true;
            addend = p->m->ops[pad].input;
        }
        p->fates[into].addend = addend;
    }
}

static int root_of(const planner *p, int t, size_t *offset)
{
    size_t sum = 0;
    for (; p->values[t].within != NOWHERE; t = p->values[t].within)
        sum += p->values[t].offset;
    if (offset)
        *offset = sum;
    return t;
}

/* RESHAPE is another name for its input. */
static void fold_views(planner *p)
{
    for (int i = 0; i < p->m->op_count; i++) {
        const bs_nn_op *op = &p->m->ops[i];
        if (!p->fates[i].needed || op->kind != BS_NN_RESHAPE)
            continue;
        p->values[op->output].within = op->input;
        p->fates[i].gone = true;
    }
}

/* Whether the piece `t` may live in the concatenation: nobody else uses it, nor what it is a view of. */
static bool movable(const planner *p, int t)
{
    for (;; t = p->values[t].within) {
        if (p->values[t].uses != 1 || p->values[t].wanted || t == p->m->input)
            return false;
        if (p->values[t].within == NOWHERE)
            return true;
    }
}

/* --- Steps --------------------------------------------------------------------------------------------- */

static bs_nn_step *add_step(planner *p, int in, int other, int out)
{
    int i = p->plan->step_count++;
    bs_nn_step *s = &p->plan->steps[i];
    *s = (bs_nn_step){.low = -INFINITY, .high = INFINITY, .add_low = -INFINITY, .add_high = INFINITY};
    s->in_shape = p->m->tensors[in].shape;
    s->out_shape = p->m->tensors[out].shape;
    s->other_channels = other == NOWHERE ? 0 : p->m->tensors[other].shape.channels;
    p->step_tensors[i][0] = in;
    p->step_tensors[i][1] = other;
    p->step_tensors[i][2] = out;
    return s;
}

/* The pieces of a CONCAT are written into their places in the result; those that cannot be are copied, a step each. */
static void plan_concat(planner *p, const bs_nn_op *op)
{
    size_t offset = 0;
    for (int k = 0; k < op->inputs; k++) {
        int piece = input_of(p, op, k);
        size_t count = p->m->tensors[piece].count;
        if (movable(p, piece)) {
            int root = root_of(p, piece, NULL);
            p->values[root].within = op->output;
            p->values[root].offset = offset;
        } else {
            bs_nn_step *s = add_step(p, piece, NOWHERE, op->output);
            s->kind = BS_NN_CONCAT;
            s->in_shape = s->out_shape = (bs_nn_shape){1, 1, (int)count};
            s->out_at = offset; /* within the result; the arena's place is added when it is known */
        }
        offset += count;
    }
}

static void plan_window(planner *p, const bs_nn_op *op, bs_nn_step *s)
{
    int pad = p->values[op->input].producer;
    s->kernel_h = op->kernel_h;
    s->kernel_w = op->kernel_w;
    s->stride_h = op->stride_h;
    s->stride_w = op->stride_w;
    s->pad_top = op->pad[0];
    s->pad_left = op->pad[2];
    if (pad != NOWHERE && p->fates[pad].gone && p->m->ops[pad].kind == BS_NN_PAD) {
        s->pad_top += p->m->ops[pad].pad[0];
        s->pad_left += p->m->ops[pad].pad[2];
    }
    if (op->weights < 0)
        return;
    s->weights = p->m->tensors[op->weights].weights;
    if (op->bias >= 0)
        s->bias = p->m->tensors[op->bias].weights;
    s->mmac = 1e-6 * (double)p->m->tensors[op->weights].count * s->out_shape.height * s->out_shape.width;
    p->plan->mmac += s->mmac;
}

static void plan_op(planner *p, int i)
{
    const bs_nn_op *op = &p->m->ops[i];
    const fate *f = &p->fates[i];
    if (op->kind == BS_NN_CONCAT) {
        plan_concat(p, op);
        return;
    }
    int in = op->input, source = p->values[in].producer;
    if (source != NOWHERE && p->fates[source].gone && p->m->ops[source].kind == BS_NN_PAD)
        in = p->m->ops[source].input;
    int other = f->add != NOWHERE ? f->addend : op->kind == BS_NN_ADD ? op->input2 : NOWHERE;
    const bs_nn_op *add = f->add != NOWHERE ? &p->m->ops[f->add] : op->kind == BS_NN_ADD ? op : NULL;
    bs_nn_step *s = add_step(p, in, other, f->add != NOWHERE ? add->output : op->output);
    s->kind = op->kind;
    s->block = op->block;
    if (add) {
        s->add_low = add->low;
        s->add_high = add->high;
    }
    if (op->kind != BS_NN_ADD) {
        s->low = op->low;
        s->high = op->high;
    }
    if (op->kind == BS_NN_PAD) {
        s->pad_top = op->pad[0];
        s->pad_left = op->pad[2];
        s->pad_channels = op->pad[4];
    } else {
        plan_window(p, op, s);
    }
}

/* --- Links ----------------------------------------------------------------------------------------------- */

/* Worth a link are tensors that push others out of the second-level cache, made and read with few weights: all of a
 * chain's are kept widened at once. */
enum { MIN_LINKED_FLOATS = 48 * 1024, MAX_LINKED_WEIGHTS = 16 * 1024, MIN_LINKED_ROWS = 16 };

/* The step that alone reads what step i writes, as its `in`; NOWHERE if there is none such. */
static int only_reader(const planner *p, int i)
{
    const int out = p->step_tensors[i][2];
    int reader = NOWHERE;
    if (p->values[out].within != NOWHERE)
        return NOWHERE;
    for (int t = 0; t < p->m->tensor_count; t++) /* itself, or as what a view of it is called */
        if (p->values[t].wanted && root_of(p, t, NULL) == out)
            return NOWHERE;
    for (int j = 0; j < p->plan->step_count; j++)
        for (int k = 0; k < 3; k++) {
            const int t = p->step_tensors[j][k];
            if (t == NOWHERE || root_of(p, t, NULL) != out || (j == i && k == 2))
                continue;
            if (reader != NOWHERE || k != 0 || t != out)
                return NOWHERE;
            reader = j;
        }
    return reader;
}

/* A convolution none of whose windows lies wholly outside of the image. */
static bool links(const bs_nn_step *s)
{
    const int last = (s->out_shape.height - 1) * s->stride_h - s->pad_top;
    return (s->kind == BS_NN_CONV || s->kind == BS_NN_DEPTHWISE) && s->weights.count <= MAX_LINKED_WEIGHTS &&
           s->out_shape.height >= MIN_LINKED_ROWS && s->pad_top < s->kernel_h && last < s->in_shape.height;
}

/* The first and the last step of the chain that step i belongs to: they run at the same time. */
static int chain_begin(const planner *p, int i)
{
    while (i > 0 && p->plan->steps[i - 1].linked)
        i--;
    return i;
}

static int chain_end(const planner *p, int i)
{
    while (p->plan->steps[i].linked)
        i++;
    return i;
}

/* Links steps, and moves one that was made long before its reader to just before it. */
static void link_steps(planner *p)
{
    for (int i = 0; i < p->plan->step_count; i++) {
        bs_nn_step *const steps = p->plan->steps;
        const int reader = links(&steps[i]) && p->m->tensors[p->step_tensors[i][2]].count >= MIN_LINKED_FLOATS
                               ? only_reader(p, i)
                               : NOWHERE;
        if (reader == NOWHERE || !links(&steps[reader]) || i - chain_begin(p, i) + 2 > BS_NN_MAX_CHAIN)
            continue;
        if (reader > i + 1) {
            if (chain_begin(p, i) < i)
                continue; /* it has to stay behind the step that is linked to it */
            const bs_nn_step moved = steps[i];
            int tensors[3];
            memcpy(tensors, p->step_tensors[i], sizeof(tensors));
            memmove(&steps[i], &steps[i + 1], sizeof(*steps) * (size_t)(reader - 1 - i));
            memmove(&p->step_tensors[i], &p->step_tensors[i + 1], sizeof(tensors) * (size_t)(reader - 1 - i));
            steps[reader - 1] = moved;
            memcpy(p->step_tensors[reader - 1], tensors, sizeof(tensors));
            i--; /* another step lies here now */
            continue;
        }
        steps[i].linked = true;
    }
}

/* Whether steps of the chain before step i read `root`, which must last until its end. */
static bool feeds_chain(const planner *p, int i, int root)
{
    const int begin = chain_begin(p, i);
    bool found = root_of(p, p->step_tensors[begin][0], NULL) == root;
    for (int k = begin; k < i; k++) {
        const int other = p->step_tensors[k][1];
        found |= other != NOWHERE && root_of(p, other, NULL) == root;
    }
    return found;
}

/* --- The arena ----------------------------------------------------------------------------------------- */

static void find_lifetimes(planner *p)
{
    for (int t = 0; t < p->m->tensor_count; t++) {
        p->values[t].first = FOREVER;
        p->values[t].last = NOWHERE;
    }
    p->values[root_of(p, p->m->input, NULL)].first = NOWHERE;
    for (int i = 0; i < p->plan->step_count; i++)
        for (int k = 0; k < 3; k++) {
            if (p->step_tensors[i][k] == NOWHERE || (k == 2 && p->plan->steps[i].linked) ||
                (k == 0 && i > 0 && p->plan->steps[i - 1].linked))
                continue;
            value *v = &p->values[root_of(p, p->step_tensors[i][k], NULL)];
            const int first = chain_begin(p, i), last = chain_end(p, i);
            v->first = first < v->first ? first : v->first;
            v->last = last > v->last ? last : v->last;
        }
    for (int t = 0; t < p->m->tensor_count; t++)
        if (p->values[t].wanted)
            p->values[root_of(p, t, NULL)].last = FOREVER;
}

/* A sum may overwrite an addend that nobody reads afterwards: elements are read before they are written. */
static void fold_in_place(planner *p)
{
    for (int i = 0; i < p->plan->step_count; i++) {
        int in = p->step_tensors[i][0], other = p->step_tensors[i][1], out = p->step_tensors[i][2];
        if (other == NOWHERE || p->values[out].within != NOWHERE)
            continue;
        int root = root_of(p, other, NULL), in_root = root_of(p, in, NULL);
        if (p->plan->steps[i].linked || p->values[root].last != i || p->values[out].wanted || root == out ||
            in_root == root || feeds_chain(p, i, root) || p->m->tensors[root].count != p->m->tensors[out].count ||
            root == p->m->input)
            continue;
        p->values[root].last = p->values[out].last;
        p->values[out].within = root;
    }
}

typedef struct buffer {
    size_t size, at;
    int first, last, tensor;
} buffer;

static int by_size(const void *a, const void *b)
{
    const buffer *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : x->tensor - y->tensor;
}

static int by_place(const void *a, const void *b)
{
    const buffer *x = *(buffer *const *)a, *y = *(buffer *const *)b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : x->tensor - y->tensor;
}

/* Largest first, each at the lowest place that is free during its life. */
static void pack(buffer *buffers, int count, buffer **sorted, size_t *total)
{
    qsort(buffers, (size_t)count, sizeof(*buffers), by_size);
    *total = 0;
    for (int i = 0; i < count; i++) {
        buffer *b = &buffers[i];
        int neighbours = 0;
        for (int j = 0; j < i; j++)
            if (buffers[j].first <= b->last && b->first <= buffers[j].last)
                sorted[neighbours++] = &buffers[j];
        qsort(sorted, (size_t)neighbours, sizeof(*sorted), by_place);
        b->at = 0;
        for (int j = 0; j < neighbours; j++) {
            if (b->at + b->size <= sorted[j]->at)
                break;
            if (sorted[j]->at + sorted[j]->size > b->at)
                b->at = sorted[j]->at + sorted[j]->size;
        }
        if (b->at + b->size > *total)
            *total = b->at + b->size;
    }
}

static bool lay_out(planner *p)
{
    int count = 0;
    buffer *buffers = calloc((size_t)p->m->tensor_count, sizeof(*buffers));
    buffer **sorted = calloc((size_t)p->m->tensor_count, sizeof(*sorted));
    bool ok = buffers && sorted;
    for (int t = 0; ok && t < p->m->tensor_count; t++) {
        const value *v = &p->values[t];
        if (v->within != NOWHERE || v->first > v->last)
            continue;
        size_t size = (p->m->tensors[t].count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
        buffers[count++] = (buffer){.size = size, .first = v->first, .last = v->last, .tensor = t};
    }
    if (ok) {
        pack(buffers, count, sorted, &p->plan->arena);
        for (int i = 0; i < count; i++)
            p->values[buffers[i].tensor].at = buffers[i].at;
    }
    free(buffers);
    free(sorted);
    return ok;
}

static size_t place_of(const planner *p, int t)
{
    size_t offset;
    int root = root_of(p, t, &offset);
    return p->values[root].at + offset;
}

static void place_steps(planner *p)
{
    for (int i = 0; i < p->plan->step_count; i++) {
        bs_nn_step *s = &p->plan->steps[i];
        s->in_at = place_of(p, p->step_tensors[i][0]);
        s->other_at = p->step_tensors[i][1] == NOWHERE ? 0 : place_of(p, p->step_tensors[i][1]);
        s->out_at += place_of(p, p->step_tensors[i][2]);
    }
    p->plan->input_at = place_of(p, p->m->input);
    for (int i = 0; i < p->m->output_count; i++)
        if (p->plan->outputs >> i & 1)
            p->plan->output_at[i] = place_of(p, p->m->outputs[i]);
}

enum { MAX_AHEAD = 128 * 1024 };

/* Weights are read once per run, and by the next run other data has pushed them out of the caches. */
static void look_ahead(bs_nn_plan *plan)
{
    const bs_nn_weights *next = NULL;
    for (int i = plan->step_count - 1; i >= 0; i--) {
        bs_nn_step *s = &plan->steps[i];
        if (next) {
            size_t values = next->segments ? bs_nn_index(next->segments, next->segment_bytes, (size_t)next->rows)
                                           : next->count;
            s->ahead = next->data;
            s->ahead_bytes = values * next->value_bytes < MAX_AHEAD ? values * next->value_bytes : MAX_AHEAD;
        }
        if (s->weights.data)
            next = &s->weights;
    }
}

enum { MAX_ARENA_FLOATS = 1 << 26 }; /* 256 MB: no pose model needs a tenth of it */

bs_status bs_nn_plan_make(bs_nn_plan *plan, const bs_nn_model *model, unsigned outputs, bs_error *err)
{
    bs_status status = BS_OK;
    bs_nn_plan made = {0};
    planner p = {.m = model, .plan = &made};
    made.outputs = outputs ? outputs : (1u << model->output_count) - 1;
    if (made.outputs >> model->output_count)
        return bs_fail(err, BS_ERR_USAGE, "the model has %d outputs, not all that were asked for", model->output_count);
    size_t steps = (size_t)model->op_count + (size_t)model->list_count;
    p.values = calloc((size_t)model->tensor_count, sizeof(*p.values));
    p.fates = calloc((size_t)model->op_count, sizeof(*p.fates));
    p.step_tensors = calloc(steps, sizeof(*p.step_tensors));
    made.steps = calloc(steps, sizeof(*made.steps));
    if (!p.values || !p.fates || !p.step_tensors || !made.steps)
        goto nomem;

    find_needed(&p, made.outputs);
    fold_window_pads(&p);
    fold_adds(&p);
    fold_views(&p);
    for (int i = 0; i < model->op_count; i++) {
        if (!p.fates[i].needed)
            continue;
        if (model->ops[i].kind == BS_NN_ADD && p.fates[i].gone)
            plan_op(&p, p.fates[i].made_by);
        else if (!p.fates[i].gone && p.fates[i].add == NOWHERE)
            plan_op(&p, i);
    }
    link_steps(&p);
    find_lifetimes(&p);
    fold_in_place(&p);
    if (!lay_out(&p))
        goto nomem;
    if (made.arena > MAX_ARENA_FLOATS) {
        status = bs_fail(err, BS_ERR_LIMIT, "the model needs %zu MB for its activations; at most 256 are supported",
                         made.arena >> 18);
        goto out;
    }
    place_steps(&p);
    look_ahead(&made);
    bs_nn_step *exact = realloc(made.steps, sizeof(*made.steps) * (size_t)(made.step_count + 1));
    made.steps = exact ? exact : made.steps;
    made.memory = sizeof(*made.steps) * (exact ? (size_t)made.step_count + 1 : steps);
    *plan = made;
    made.steps = NULL;
    goto out;
nomem:
    status = bs_fail(err, BS_ERR_NOMEM, "no memory to plan the model's %d operators", model->op_count);
out:
    free(p.values);
    free(p.fates);
    free(p.step_tensors);
    free(made.steps);
    return status;
}

void bs_nn_plan_release(bs_nn_plan *plan)
{
    free(plan->steps);
    *plan = (bs_nn_plan){0};
}
