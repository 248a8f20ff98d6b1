/* Enhancements of a crop: the same person made easier to see. They work in place on a network's input tensor,
 * on the crop that needs it and never on a whole picture.
 *
 * Units: `pixels` is size × size × 3, R, G, B of 0–1. Threads: no state. */
#ifndef BS_POSE_ENHANCE_H
#define BS_POSE_ENHANCE_H

#include "pose/landmarks.h"

/* Contrast-limited adaptive histogram equalisation of the lightness, colour kept (K. Zuiderveld, "Contrast Limited
 * Adaptive Histogram Equalization", Graphics Gems IV, 1994): 8 × 8 fields, clip limit 3. */
void bs_enhance_clahe(float *pixels, int size);

/* A gamma curve that brings the mean lightness to the middle; a bright crop's shadows are lifted all the same. */
void bs_enhance_bright(float *pixels, int size);

/* Both for the lower half alone, with a soft edge: hips, legs and feet of an upright person in a landmark crop. */
void bs_enhance_lower(float *pixels, int size);

/* Left and right exchanged. */
void bs_enhance_mirror(float *pixels, int size);

/* The body that was found in a mirrored crop, as it is: coordinates and the names of left and right swapped back.
 * `body` is in the crop's own fractions (bs_body_decode, before bs_body_project). */
void bs_body_unmirror(bs_body *body);

#endif
