/* A photo's landmarks by the pose engine alone: the pixels may come from anywhere, here from a PPM file.
 *
 *     photo PICTURE.ppm                         (ffmpeg -i photo.jpg picture.ppm makes one)
 *
 * Prints name, x, y, visibility and the place in metres of the 33 landmarks of the first person. */
#include <stdio.h>
#include <stdlib.h>

#include <bodyscript/bodyscript.h>

/* A binary PPM with 8 bits per component: 3 bytes R, G, B per pixel, for the caller to free. NULL: it is none. */
static unsigned char *read_ppm(const char *path, int *width, int *height)
{
    int depth = 0;
    unsigned char *rgb = NULL;
    FILE *in = fopen(path, "rb");
    if (in && fscanf(in, "P6 %d %d %d", width, height, &depth) == 3 && depth == 255 && fgetc(in) != EOF && *width > 0 &&
        *height > 0 && *width <= 16384 && *height <= 16384) {
        size_t size = (size_t)*width * (size_t)*height * 3;
        rgb = malloc(size);
        if (rgb && fread(rgb, 1, size, in) != size) {
            free(rgb);
            rgb = NULL;
        }
    }
    if (in)
        fclose(in);
    return rgb;
}

static void print_person(const bs_person *person)
{
    for (int i = 0; i < BS_LANDMARKS; i++) {
        const bs_landmark *l = &person->landmark[i];
        const bs_world_landmark *w = &person->world[i];
        printf("%-18s %8.4f %8.4f  %5.3f  %7.3f %7.3f %7.3f m\n", bs_landmark_name(i), l->x, l->y, l->visibility, w->x,
               w->y, w->z);
    }
}

int main(int argc, char **argv)
{
    int width = 0, height = 0;
    unsigned char *rgb = argc == 2 ? read_ppm(argv[1], &width, &height) : NULL;
    if (!rgb) {
        fprintf(stderr, "usage: photo PICTURE.ppm (binary, 8 bits)\n");
        return 2;
    }

    bs_error err = {0};
    bs_models *models = NULL;
    bs_pose *pose = NULL;
    bs_pose_result result;
    bs_pose_options options = bs_pose_defaults();
    options.static_image_mode = true;
    bs_image image = bs_image_rgb24(rgb, width, height, (ptrdiff_t)width * 3);

    bs_status status = bs_models_open(&models, NULL, BS_MODEL_BIT(BS_MODEL_FULL), &err);
    if (status == BS_OK)
        status = bs_pose_open(&pose, models, &options, &err);
    if (status == BS_OK)
        status = bs_pose_process(pose, &image, 0, &result, &err);
    if (status != BS_OK)
        fprintf(stderr, "photo: %s\n", err.text);
    else if (result.people == 0)
        printf("nobody was found\n");
    else
        print_person(&result.person[0]);

    bs_pose_close(&pose);
    bs_models_close(&models);
    free(rgb);
    return bs_exit_code(status);
}
