/* The oracle of src/nn: a checked model run by Debian's XNNPACK, operator by operator as the file has them, nothing
 * folded. For tests and the bench alone; the program does not link XNNPACK. */
#ifndef XNN_GRAPH_H
#define XNN_GRAPH_H

#include "nn/plan.h"

typedef struct xnn_graph xnn_graph;

/* Only what leads to the outputs of the mask (bit i: output i; 0: all). threads: 0 or 1 for the caller's alone. NULL:
 * XNNPACK refused, with the reason on standard error. */
xnn_graph *xnn_graph_open(const bs_nn_model *model, unsigned outputs, int threads);
void xnn_graph_close(xnn_graph *graph);
float *xnn_graph_input(xnn_graph *graph);
bool xnn_graph_run(xnn_graph *graph);
const float *xnn_graph_output(const xnn_graph *graph, int output);

/* One step without its addend, by XNNPACK: value = clamp(operator(in), low, high), or the sum of in and other.
 * Rows and columns after the image that the last windows need are zeros. */
bool xnn_step_run(const bs_nn_step *step, float *out);

#endif
