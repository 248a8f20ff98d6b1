/* The checked graph of a .tflite file, as the reader leaves it and the planner takes it. Internal to src/nn.
 *
 * Everything in it has been checked against the file's length and against everything else in it: shapes of
 * operators agree with those of their tensors, constants have as many bytes as their shapes say, sparse
 * indices are in range, operators are in topological order. Pointers go into the file. */
#ifndef BS_NN_GRAPH_H
#define BS_NN_GRAPH_H

#include "nn.h"

typedef enum bs_nn_kind {
    BS_NN_CONV,
    BS_NN_DEPTHWISE,
    BS_NN_ADD,
    BS_NN_PAD,
    BS_NN_MAX_POOL,
    BS_NN_RESIZE, /* bilinear, exactly ×2, half-pixel centres */
    BS_NN_DEPTH_TO_SPACE,
    BS_NN_CONCAT, /* of contiguous pieces */
    BS_NN_RESHAPE,
    BS_NN_LOGISTIC,
    BS_NN_KINDS
} bs_nn_kind;

/* Constant numbers as they lie in the file. Sparse ones are compressed rows: row r holds the columns
 * indices[segments[r]] … indices[segments[r + 1] - 1], ascending; `data` holds their values one after another. */
typedef struct bs_nn_weights {
    const uint8_t *data;     /* little-endian half or single precision, not necessarily aligned; NULL: no constant */
    const uint8_t *segments; /* NULL: dense */
    const uint8_t *indices;
    uint8_t value_bytes, segment_bytes, index_bytes;
    int rows, columns; /* of a sparse one */
    size_t count;      /* values when dense */
} bs_nn_weights;

typedef struct bs_nn_tensor {
    bs_nn_shape shape;
    size_t count; /* height × width × channels */
    int dims[4], rank;
    int type;              /* the file's TensorType */
    bs_nn_weights weights; /* of a constant, through DENSIFY and DEQUANTIZE */
    const uint8_t *data;   /* the buffer's bytes: constants of any type */
    size_t bytes;
} bs_nn_tensor;

typedef struct bs_nn_op {
    bs_nn_kind kind;
    int input, input2; /* tensors; input2 of ADD only (else -1) */
    int weights, bias; /* tensors of CONV and DEPTHWISE (else -1); bias may be -1 */
    int output;
    int first, inputs; /* CONCAT: model->lists[first … first + inputs - 1] */
    int kernel_h, kernel_w, stride_h, stride_w, block;
    int pad[6];      /* top, bottom, left, right; PAD also: channels before, after */
    float low, high; /* the fused activation: clamp to this range */
} bs_nn_op;

struct bs_nn_model {
    const uint8_t *file;
    size_t size;
    bool mapped;
    bs_nn_tensor *tensors;
    bs_nn_op *ops;
    int *lists;
    void *densified; /* rows of unusual sparse layouts, expanded; usually NULL */
    int tensor_count, op_count, list_count, output_count;
    int input, outputs[8];
    size_t memory;
};

/* Gives back the pages of a mapped file; they come back when they are read. */
void bs_nn_model_drop_pages(const bs_nn_model *model);

/* Tensors larger than this are refused: 64 MB of float32. */
#define BS_NN_MAX_ELEMENTS ((size_t)1 << 24)

/* A sparse tensor as the file describes it (blazepose.md 3.3; tensorflow/lite/kernels/internal/utils/
 * sparsity_format_converter.cc): n tensor dimensions, then k block dimensions. */
typedef struct bs_nn_sparsity {
    int n, k;
    int dims[4];
    int order[8], block_map[4];
    struct {
        bool sparse;
        int size; /* of a dense level */
        const uint8_t *segments, *indices;
        int segment_bytes, index_bytes;
        size_t segment_count, index_count;
    } level[8];
} bs_nn_sparsity;

/* Whether it is the filter of a 1×1 convolution, [O, 1, 1, I], stored row by row: used as it is, as bs_nn_weights. */
bool bs_nn_is_plain_rows(const bs_nn_sparsity *sparsity);
/* Whether the rows of such a one are: of `value_count` values each has its place, columns ascend within their rows. */
bool bs_nn_rows_are_sound(const bs_nn_sparsity *sparsity, size_t value_count);

/* Any other one: expands to `out`, zeroed row-major dims, elements of `value_bytes`. false: the description is
 * inconsistent. */
bool bs_nn_densify(const bs_nn_sparsity *sparsity, const uint8_t *values, size_t value_count, int value_bytes,
                   uint8_t *out);

static inline uint32_t bs_nn_index(const uint8_t *values, int bytes, size_t i)
{
    const uint8_t *p = values + i * (size_t)bytes;
    uint32_t v = p[0];
    if (bytes > 1)
        v |= (uint32_t)p[1] << 8;
    if (bytes > 2)
        v |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return v;
}

#endif
