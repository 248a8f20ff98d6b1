/* Register tiles of a matrix product, ROWS pixels × COLS vectors of outputs each. Included once per size, with
 *   ROWS 1, 2, 4, 6 or 8;  COLS 1, 2, 3, 4 or 6;  WIDTH = COLS · LANES, for its name, tile_ROWSxWIDTH;
 * and the vector (VEC, LANES, v_load … see vector.h). vector_panel.h does so.
 * Accumulators are ROWS × COLS named variables, because GCC 12 keeps those in registers and spills an array;
 * look at the assembly after a change: the loop over k must hold nothing but loads, broadcasts and FMAs.
 *
 * out[r][o] = finish(bias[o] + Σ_segment Σ_k a[r·a_stride + segment·a_segment + k] · b[(segment·k_count + k)·width +
 * o]) in this very order, one accumulator per element. A 1×1 convolution has one segment; a k×k one has a segment per
 * kernel row, because a row's columns and channels lie side by side in NHWC. */

#define V_PASTE_(a, b)   a##b
#define V_PASTE(a, b)    V_PASTE_(a, b)
#define V_TILE_(r, w)    tile_##r##x##w
#define V_TILE(r, w)     V_TILE_(r, w)
#define V_COL_1(X, r, g) X(r, g, 0)
#define V_COL_2(X, r, g) V_COL_1(X, r, g) X(r, g, 1)
#define V_COL_3(X, r, g) V_COL_2(X, r, g) X(r, g, 2)
#define V_COL_4(X, r, g) V_COL_3(X, r, g) X(r, g, 3)
#define V_COL_6(X, r, g) V_COL_4(X, r, g) X(r, g, 4) X(r, g, 5)
#define V_COLS(X, r, g)  V_PASTE(V_COL_, COLS)(X, r, g)
/* Rows come in groups of four that share one pointer: row r is at group[r / 4] + (r % 4) · stride. */
#define V_ROW_1(X) X(0, 0)
#define V_ROW_2(X) V_ROW_1(X) X(1, 0)
#define V_ROW_4(X) V_ROW_2(X) X(2, 0) X(3, 0)
#define V_ROW_6(X) V_ROW_4(X) X(4, 1) X(5, 1)
#define V_ROW_8(X) V_ROW_6(X) X(6, 1) X(7, 1)
#define V_ROWS(X)  V_PASTE(V_ROW_, ROWS)(X)

static void V_TILE(ROWS, WIDTH)(const tile_job *job, int count)
{
    const size_t stride1 = job->a_stride * sizeof(float), stride2 = 2 * stride1, stride3 = 3 * stride1;
    const float *a = job->a, *other = job->other;
    const uint8_t *ahead = job->ahead;
    const size_t ahead_step = job->ahead_step;
    float *c = job->c;
    for (; count > 0; count--) {
        const float *b = job->b;
#define T_BIAS(r, g, j)  VEC sum##r##_##j = v_load(job->bias + j * LANES);
#define T_BIAS_ROW(r, g) V_COLS(T_BIAS, r, g)
        V_ROWS(T_BIAS_ROW)
        for (int segment = 0; segment < job->segments; segment++) {
            const char *group0 = (const char *)(a + (size_t)segment * job->a_segment);
            const char *group1 = group0 + 4 * stride1;
            (void)group1, (void)stride2, (void)stride3;
            for (long k = job->k; k > 0; k--) {
#define T_LOAD(r, g, j) const VEC b##j = v_load(b + j * LANES);
#define T_FMA(r, g, j)  sum##r##_##j = v_fma(x, b##j, sum##r##_##j);
#define T_FMA_ROW(r, g) \
    { \
        const VEC x = v_broadcast((const float *)(group##g + (r % 4 == 0   ? 0 \
                                                              : r % 4 == 1 ? stride1 \
                                                              : r % 4 == 2 ? stride2 \
                                                                           : stride3))); \
        V_COLS(T_FMA, r, g) \
    }
                V_COLS(T_LOAD, 0, 0)
                V_ROWS(T_FMA_ROW)
                prefetch(ahead);
                ahead += ahead_step;
                b += COLS * LANES;
                group0 += sizeof(float);
                group1 += sizeof(float);
            }
        }
        const VEC low = v_set1(job->low), high = v_set1(job->high);
#define T_CLAMP(r, g, j)  sum##r##_##j = v_min(v_max(sum##r##_##j, low), high);
#define T_CLAMP_ROW(r, g) V_COLS(T_CLAMP, r, g)
        V_ROWS(T_CLAMP_ROW)
        if (other) {
            const VEC add_low = v_set1(job->add_low), add_high = v_set1(job->add_high);
#define T_ADD(r, g, j) \
    sum##r##_##j = v_min(v_max(v_add(sum##r##_##j, v_load(other + r * job->other_stride + j * LANES)), add_low), \
                         add_high);
#define T_ADD_ROW(r, g) V_COLS(T_ADD, r, g)
            V_ROWS(T_ADD_ROW)
        }
#define T_STORE(r, g, j)  v_store(c + r * job->c_stride + j * LANES, sum##r##_##j);
#define T_STORE_ROW(r, g) V_COLS(T_STORE, r, g)
        V_ROWS(T_STORE_ROW)
        a += ROWS * job->a_stride;
        c += ROWS * job->c_stride;
        other = other ? other + ROWS * job->other_stride : NULL;
    }
}

#undef V_PASTE_
#undef V_PASTE
#undef V_TILE_
#undef V_TILE
#undef V_COL_1
#undef V_COL_2
#undef V_COL_3
#undef V_COL_4
#undef V_COL_6
#undef V_COLS
#undef V_ROW_1
#undef V_ROW_2
#undef V_ROW_4
#undef V_ROW_6
#undef V_ROW_8
#undef V_ROWS
#undef T_BIAS
#undef T_BIAS_ROW
#undef T_LOAD
#undef T_FMA
#undef T_FMA_ROW
#undef T_CLAMP
#undef T_CLAMP_ROW
#undef T_ADD
#undef T_ADD_ROW
#undef T_STORE
#undef T_STORE_ROW
#undef ROWS
