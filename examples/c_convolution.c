/* Sums of 2 x 2 pixels in C. Compile and run:
 *   cc c_convolution.c $(python3-config --cflags --ldflags --embed) \
 *      -I$(python3 -c "import fastconv; print(fastconv.get_include())") && ./a.out */
#include <Python.h>
#include <fastconv.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    Py_Initialize();
    const struct fastconv_api *api = fastconv_import();
    if (!api) return PyErr_Print(), 1;
    float x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, w[] = {1, 1, 1, 1}, y[4];
    struct fastconv_convolution sizes = {.dtype = FASTCONV_FLOAT32, .layout = FASTCONV_NCHW,
        .x = {1, 1, 3, 3}, .w = {1, 1, 2, 2}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    const struct fastconv_plan *plan;
    if (api->plan(FASTCONV_CONV2D, &sizes, sizeof sizes, &plan)) return puts(api->last_error()), 1;
    void *const arrays[] = {x, w, NULL, y}, *workspace = malloc(api->workspace_bytes(plan));
    if (api->run(plan, arrays, workspace, api->workspace_bytes(plan), 1)) return 1;
    printf("%g %g %g %g\n", y[0], y[1], y[2], y[3]); /* 8 12 20 24 */
    free(workspace);
    return Py_FinalizeEx();
}
