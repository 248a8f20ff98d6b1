/* Chains: linked steps (plan.h) that run together, band by band of rows. Internal to src/nn.
 *
 * The expanded tensors of large images are megabytes: written by a 1×1 convolution, read by a depthwise one, whose
 * result the next 1×1 convolution reads, they would go out to the third-level cache and back, twice. Here a few rows of
 * each are made, used and overwritten in the second-level cache, and none of these tensors has a place in the arena. A
 * band's windows reach into the rows before it: these are kept, not made again. Each value is computed as ever. */
#ifndef BS_NN_CHAIN_H
#define BS_NN_CHAIN_H

#include "kernels.h"

/* What each step of a chain took, for the profile. */
typedef struct bs_nn_meter {
    double (*now)(void);
    double seconds[BS_NN_MAX_CHAIN];
} bs_nn_meter;

/* Steps that run together with this one, the first of its chain; 1: it runs alone. */
int bs_nn_chain_length(const bs_nn_step *steps);
/* Floats of scratch that one part of the chain needs. */
size_t bs_nn_chain_scratch(const bs_nn_kernels *kernels, const bs_nn_step *steps);
/* Runs part `part` of `parts` of the chain: some rows of its last step's result, and all that they need.
 * `meter` may be NULL. */
void bs_nn_chain_run(const bs_nn_kernels *kernels, const bs_nn_step *steps, float *scratch, int part, int parts,
                     bs_nn_meter *meter);

#endif
