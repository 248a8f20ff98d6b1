/* Pictures that somebody else owns (see bodyscript/image.h). */
#include <bodyscript/image.h>

bs_image bs_image_rgb24(const uint8_t *rgb, int width, int height, ptrdiff_t stride)
{
    return (bs_image){
        .width = width,
        .height = height,
        .data = {rgb},
        .stride = {stride},
        .model = BS_COLOR_RGB,
        .component = {{0, 3, 0, 0, 8}, {0, 3, 1, 0, 8}, {0, 3, 2, 0, 8}},
        .full_range = true,
    };
}
