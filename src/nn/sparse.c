/* Sparse weights as a .tflite file lays them out (see graph.h): told apart, checked, expanded. */
#include <string.h>

#include "graph.h"

typedef struct densify_state {
    const bs_nn_sparsity *s;
    const uint8_t *values;
    size_t value_count, used;
    int value_bytes;
    uint8_t *out;
    int block_size[4], extent[8], coord[8];
} densify_state;

static bool densify_level(densify_state *st, int level, size_t parent)
{
    const bs_nn_sparsity *s = st->s;
    if (level == s->n + s->k) {
        int index[4] = {0};
        for (int i = 0; i < s->n; i++)
            index[s->order[i]] = st->coord[i];
        for (int i = s->n; i < s->n + s->k; i++) {
            int b = s->order[i] - s->n;
            index[s->block_map[b]] = index[s->block_map[b]] * st->block_size[b] + st->coord[i];
        }
        size_t at = 0;
        for (int i = 0; i < s->n; i++)
            at = at * (size_t)s->dims[i] + (size_t)index[i];
        if (st->used >= st->value_count)
            return false;
        memcpy(st->out + at * (size_t)st->value_bytes, st->values + st->used++ * (size_t)st->value_bytes,
               (size_t)st->value_bytes);
        return true;
    }
    if (!s->level[level].sparse) {
        for (int c = 0; c < s->level[level].size; c++) {
            st->coord[level] = c;
            if (!densify_level(st, level + 1, parent * (size_t)s->level[level].size + (size_t)c))
                return false;
        }
        return true;
    }
    if (parent + 1 >= s->level[level].segment_count)
        return false;
    size_t begin = bs_nn_index(s->level[level].segments, s->level[level].segment_bytes, parent);
    size_t end = bs_nn_index(s->level[level].segments, s->level[level].segment_bytes, parent + 1);
    if (begin > end || end > s->level[level].index_count)
        return false;
    for (size_t p = begin; p < end; p++) {
        uint32_t c = bs_nn_index(s->level[level].indices, s->level[level].index_bytes, p);
        if (c >= (uint32_t)st->extent[level])
            return false;
        st->coord[level] = (int)c;
        if (!densify_level(st, level + 1, p))
            return false;
    }
    return true;
}

bool bs_nn_densify(const bs_nn_sparsity *s, const uint8_t *values, size_t value_count, int value_bytes, uint8_t *out)
{
    densify_state st = {.s = s, .values = values, .value_count = value_count, .value_bytes = value_bytes, .out = out};
    int blocked[4] = {1, 1, 1, 1};
    unsigned seen = 0;
    if (s->n < 1 || s->n > 4 || s->k < 0 || s->k > 4)
        return false;
    for (int i = 0; i < s->n + s->k; i++) {
        bool of_blocks = i >= s->n;
        if (s->order[i] < (of_blocks ? s->n : 0) || s->order[i] >= (of_blocks ? s->n + s->k : s->n))
            return false;
        seen |= 1u << s->order[i];
    }
    if (seen != (1u << (s->n + s->k)) - 1)
        return false;
    for (int b = 0; b < s->k; b++) {
        int level = s->order[s->n + b], size = s->level[level].size;
        if (s->block_map[b] < 0 || s->block_map[b] >= s->n || s->level[level].sparse || size < 1 ||
            s->dims[s->block_map[b]] % ((int64_t)blocked[s->block_map[b]] * size))
            return false;
        st.block_size[b] = size;
        blocked[s->block_map[b]] *= size;
    }
    for (int i = 0; i < s->n + s->k; i++) {
        bool of_blocks = i >= s->n;
        st.extent[i] = of_blocks ? st.block_size[s->order[i] - s->n] : s->dims[s->order[i]] / blocked[s->order[i]];
        if (!s->level[i].sparse && s->level[i].size != st.extent[i])
            return false;
    }
    return densify_level(&st, 0, 0) && st.used == value_count;
}

bool bs_nn_is_plain_rows(const bs_nn_sparsity *s)
{
    if (s->n != 4 || s->k != 0 || s->dims[1] != 1 || s->dims[2] != 1)
        return false;
    for (int i = 0; i < 4; i++)
        if (s->order[i] != i || s->level[i].sparse != (i == 3) || (i < 3 && s->level[i].size != s->dims[i]))
            return false;
    return s->level[3].segment_count == (size_t)s->dims[0] + 1;
}

bool bs_nn_rows_are_sound(const bs_nn_sparsity *s, size_t value_count)
{
    const int sb = s->level[3].segment_bytes, ib = s->level[3].index_bytes;
    const uint8_t *segments = s->level[3].segments, *indices = s->level[3].indices;
    if (bs_nn_index(segments, sb, 0) != 0 || s->level[3].index_count != value_count)
        return false;
    for (int row = 0; row < s->dims[0]; row++) {
        size_t begin = bs_nn_index(segments, sb, (size_t)row), end = bs_nn_index(segments, sb, (size_t)row + 1);
        if (begin > end || end > value_count)
            return false;
        for (size_t p = begin; p < end; p++) {
            uint32_t c = bs_nn_index(indices, ib, p);
            if (c >= (uint32_t)s->dims[3] || (p > begin && c <= bs_nn_index(indices, ib, p - 1)))
                return false;
        }
    }
    return bs_nn_index(segments, sb, (size_t)s->dims[0]) == value_count;
}
