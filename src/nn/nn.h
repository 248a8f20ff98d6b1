/* nn: a small inference engine for MediaPipe's pose models.
 *
 * A bs_nn_model is a mapped .tflite file and its checked graph: immutable, shared by threads and forks,
 * weights left as they are in the file (half precision, dense or sparse). A bs_nn is a plan for some of
 * the model's outputs: only the operators that lead to them, padding folded into the convolution that
 * follows, all activations in one arena. The kernels give MediaPipe's own bits: one FMA per tap in
 * ascending order (blazepose.md section 4), for any tiling and any number of threads.
 *
 * Shapes: tensors are NHWC float32, batch 1. Threads: a bs_nn is used by one thread at a time; make it
 * after a fork when it has threads of its own (thread pools do not survive one). */
#ifndef BS_NN_NN_H
#define BS_NN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bodyscript/status.h>

typedef struct bs_nn_model bs_nn_model;
typedef struct bs_nn bs_nn;
typedef struct bs_nn_arena bs_nn_arena;

typedef struct bs_nn_shape {
    int height, width, channels; /* a 1×n tensor is 1 × 1 × n */
} bs_nn_shape;

typedef struct bs_nn_options {
    unsigned outputs;   /* bit i: output i of the graph is wanted; 0: all */
    int threads;        /* inside one inference, the caller's included, no more than CPUs; 0 or 1: that one alone */
    const char *isa;    /* NULL: the best of this CPU; "avx512", "avx2", "sse2", "neon", "portable" */
    bs_nn_arena *arena; /* NULL: its own; else shared with others that never run at the same time */
    bool drop_weights;  /* pages of the mapped file are given back once their weights were used: about 1 MB of them is
                           resident at a time in place of all, for some 2 % of the time (they come back from the page
                           cache at the next run) */
} bs_nn_options;

/* Maps and checks a .tflite file. A missing, damaged or foreign file: BS_ERR_INPUT and one sentence. */
bs_status bs_nn_model_open(bs_nn_model **out, const char *path, bs_error *err);
/* The same from memory (tests, fuzzing); `data` must outlive the model. */
bs_status bs_nn_model_open_memory(bs_nn_model **out, const void *data, size_t size, bs_error *err);
void bs_nn_model_close(bs_nn_model **model);

int bs_nn_model_output_count(const bs_nn_model *model);
bs_nn_shape bs_nn_model_input_shape(const bs_nn_model *model);
bs_nn_shape bs_nn_model_output_shape(const bs_nn_model *model, int output); /* in the file's order */
const void *bs_nn_model_data(const bs_nn_model *model, size_t *size);       /* the mapped file */
size_t bs_nn_model_memory(const bs_nn_model *model);                        /* private bytes: the graph's tables */

/* Activations and scratch for several bs_nn, as large as the largest of them needs. For those that run in
 * turn (detector and landmarks): a run or a write to an input of one destroys inputs and outputs of all others.
 * The arena must outlive every bs_nn in it. A bs_nn_open that makes the arena larger moves it: pointers from
 * bs_nn_input and bs_nn_output are to be asked for again. */
bs_status bs_nn_arena_open(bs_nn_arena **out, bs_error *err);
void bs_nn_arena_close(bs_nn_arena **arena);
size_t bs_nn_arena_memory(const bs_nn_arena *arena);

/* Plans and allocates. The model must outlive the bs_nn. An ISA that the CPU lacks: BS_ERR_USAGE. */
bs_status bs_nn_open(bs_nn **out, const bs_nn_model *model, const bs_nn_options *options, bs_error *err);
void bs_nn_close(bs_nn **nn);

/* The input, to be filled before every run: it shares the arena, a run destroys it. */
float *bs_nn_input(bs_nn *nn);
bs_status bs_nn_run(bs_nn *nn, bs_error *err);
/* Valid until the next run or the next write to the input; NULL for an output that was not wanted. */
const float *bs_nn_output(const bs_nn *nn, int output);

size_t bs_nn_memory(const bs_nn *nn);   /* private bytes: plan, and arena and scratch unless they are shared */
double bs_nn_mmac(const bs_nn *nn);     /* million multiply-adds of the planned graph */
const char *bs_nn_isa(const bs_nn *nn); /* of NULL: the best of this CPU */

/* Time by kind of operator, for the bench. Off until switched on. */
typedef struct bs_nn_profile_entry {
    const char *kind; /* "conv 1×1", "depthwise", … static storage */
    double seconds, mmac;
    int count;
} bs_nn_profile_entry;
void bs_nn_profile(bs_nn *nn, bool on);
int bs_nn_profile_read(const bs_nn *nn, bs_nn_profile_entry *entries, int capacity);

#endif
