/* Names of landmarks, connections, models, modes and strategies (see bodyscript/pose.h).
 * Landmarks and connections: mediapipe/python/solutions/pose.py, pose_connections.py. */
#include <bodyscript/pose.h>

static const char *const landmark_names[BS_LANDMARKS] = {
#define X(constant, name) [BS_##constant] = #name,
    BS_LANDMARK_LIST(X)
#undef X
};

const uint8_t bs_connections[BS_CONNECTIONS][2] = {
    {0, 1},   {1, 2},   {2, 3},   {3, 7},   {0, 4},   {4, 5},   {5, 6},   {6, 8},   {9, 10},
    {11, 12}, {11, 13}, {13, 15}, {15, 17}, {15, 19}, {15, 21}, {17, 19}, {12, 14}, {14, 16},
    {16, 18}, {16, 20}, {16, 22}, {18, 20}, {11, 23}, {12, 24}, {23, 24}, {23, 25}, {24, 26},
    {25, 27}, {26, 28}, {27, 29}, {28, 30}, {29, 31}, {30, 32}, {27, 31}, {28, 32},
};

#define NAME_OF(names, value) \
    ((unsigned)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[(unsigned)(value)] : "unknown")

const char *bs_landmark_name(int index)
{
    return NAME_OF(landmark_names, index);
}

const char *bs_model_name(bs_model_kind kind)
{
    static const char *const names[] = {"lite", "full", "heavy"};
    return NAME_OF(names, kind);
}

const char *bs_mode_name(bs_mode mode)
{
    static const char *const names[] = {"ultra_fast", "fast", "smart", "quality"};
    return NAME_OF(names, mode);
}

const char *bs_person_status_name(bs_person_status status)
{
    static const char *const names[] = {"missing", "detected", "tracked"};
    return NAME_OF(names, status);
}

const char *bs_strategy_name(bs_strategy strategy)
{
    static const char *const names[] = {"original", "redetected",     "clahe", "bright",
                                        "mirrored", "lower_enhanced", "tiled"};
    return NAME_OF(names, strategy);
}
