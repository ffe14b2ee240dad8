/* The words of an encoded instruction, by name: a structure for each kernel.
 *
 * Made from fastconv/backends/compiled/instructions/layouts; to change it, change them and run
 *     python -m fastconv.backends.compiled.instructions.header kernels/cpu/instruction_layouts.h
 */
#ifndef FASTCONV_INSTRUCTION_LAYOUTS_H
#define FASTCONV_INSTRUCTION_LAYOUTS_H

#include <stdint.h>

typedef int64_t address; /* of an array; 0: there is none */

enum { WORDS = 64 }; /* of an instruction */
enum { CONDITION_WORDS = 16 };

/* The first words of every instruction. */
struct instruction_head {
    address kernel;
    int64_t max_threads; /* how many find work in it; threads beyond that pass by */
    int64_t barrier; /* 1 if all threads must have finished it before the next one starts */
    address tile_table; /* of tiles, where the engine has one */
};

/* The first words and the last one of every instruction. */
struct instruction_ends {
    struct instruction_head head;
    int64_t fields[59];
    address condition; /* CONDITION_WORDS words: it runs if one of them is not 0; may be NULL */
};

/* What the accumulators of a tile start from. */
enum { INIT_ZERO, INIT_BIAS, INIT_C, INIT_ROW_BIAS };

/* The epilogue of a tile: what becomes of its sums. */
enum { STORE, LEAKY_RELU, LEAKY_GRADIENT, UPDATE };

/* Activations, in the order of fastconv.plans.activations.ACTIVATIONS. */
enum { KIND_RELU, KIND_LEAKY_RELU, KIND_ELU, KIND_SELU, KIND_SIGMOID, KIND_TANH, KIND_SOFTPLUS,
    KIND_GELU, KIND_GELU_TANH, KIND_SILU, KIND_HARD_SIGMOID, KIND_HARD_SWISH, KIND_RELU6,
    KIND_SOFTSIGN, KIND_MISH };

/* Fields that stand side by side in several kernels. */
struct plane_sizes {
    int64_t samples;
    int64_t channels;
    int64_t height; /* rows of a plane that is copied */
    int64_t width; /* columns of a plane that is copied */
    int64_t rows; /* rows of the other planes */
    int64_t columns; /* columns of the other planes */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t dilation_down; /* rows of x from tap to tap */
    int64_t dilation_across; /* columns of x from tap to tap */
    int64_t stride_down; /* rows of x from row to row of what is written, or of dy */
    int64_t stride_across; /* columns of x from column to column of it */
    int64_t spacing; /* columns that the copy makes of one: zeros in between */
    int64_t top; /* padding above */
    int64_t left; /* padding at the left */
    int64_t w_channel; /* stride of the weights from channel to channel */
    int64_t w_down; /* stride of the weights from tap to tap down */
    int64_t w_across; /* stride of the weights from tap to tap across */
    int64_t other_row; /* stride of the other planes from row to row */
    int64_t other_plane; /* stride of the other planes from plane to plane */
    int64_t tile_columns; /* columns that are done together */
    int64_t tile_rows; /* rows that are done together */
    int64_t tile_down; /* taps down that are done together */
    int64_t tile_across; /* taps across that are done together */
    int64_t line_step; /* rows of the plane from line to line of the copy */
    int64_t phases; /* phases of the columns in a line: those of a stride lie apart */
    int64_t length; /* elements of a phase */
};

/* Fields that stand side by side in several kernels. */
struct parameter_ranges {
    int64_t size; /* parameters */
    int64_t weights; /* how many of the first ones the L2 penalty is for */
    int64_t decayed; /* how many of the first ones decay */
};

/* Fields that stand side by side in several kernels. */
struct penalties {
    double l2; /* 2 * l2 * w is added to the gradient */
    double coupled_decay; /* coupled_decay * w is added to the gradient */
    double decoupled_decay; /* rate * decoupled_decay * w is subtracted beside */
};

/* Fields that stand side by side in several kernels. */
struct random_key {
    int64_t key0; /* low word of the key */
    int64_t key1; /* high word of the key */
    int64_t stream; /* number of the stream */
};

/* Fields that stand side by side in several kernels. */
struct pool_windows {
    int64_t batch; /* samples */
    int64_t channels;
    int64_t height; /* rows of the images */
    int64_t width; /* columns of the images */
    int64_t out_height; /* rows of what is pooled */
    int64_t out_width; /* columns of what is pooled */
    int64_t kernel_height; /* rows of a window */
    int64_t kernel_width; /* columns of a window */
    int64_t stride_height; /* rows from window to window */
    int64_t stride_width; /* columns from window to window */
    int64_t top; /* padding above */
    int64_t left; /* padding at the left */
    int64_t bottom; /* padding below */
    int64_t right; /* padding at the right */
    int64_t count_padding; /* whether averages count the cells of the padding */
};

/* Fields that stand side by side in several kernels. */
struct patches {
    int64_t samples;
    int64_t height; /* rows of A */
    int64_t width; /* columns of A */
    int64_t channels; /* channels of A, of all groups */
    int64_t rows; /* rows of what is written, or of dy */
    int64_t columns; /* columns of it */
    int64_t last_columns; /* columns of its last row, and of that of A if they are fewer */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t depth; /* channels of a group of A */
    int64_t stride_down; /* rows of A from row to row of what is written */
    int64_t stride_across; /* columns of A from column to column of it */
    int64_t dilation_down; /* rows of A from tap to tap */
    int64_t dilation_across; /* columns of A from tap to tap */
    int64_t top; /* rows of A that the first tap lies above it */
    int64_t left; /* columns of A that the first tap lies left of it */
    int64_t groups; /* groups of channels */
    int64_t outputs; /* output channels of a group */
};

/* C[sample, row, column, n] = init + sum over taps and k of A[...] B[tap, k, n] */
struct conv_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address b; /* the weights, packed in blocks or as they lie */
    address c; /* what is written */
    address bias; /* INIT_BIAS: for each column of C; INIT_ROW_BIAS: for each row; may be NULL */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[7];
    int64_t samples;
    int64_t rows; /* rows of what is written */
    int64_t columns; /* columns of what is written */
    int64_t vectors; /* vectors of a block of B */
    int64_t outputs; /* output channels of a group */
    int64_t tile_rows; /* rows of a tile: columns of C */
    int64_t a_sample; /* stride of A from sample to sample of what is written, or of dy */
    int64_t a_row; /* stride of A from row to row of it */
    int64_t a_column; /* stride of A from column to column of it */
    int64_t c_sample; /* stride of C from sample to sample */
    int64_t c_row; /* stride of C from row to row */
    int64_t c_column; /* stride of C from column to column */
    int64_t taps_down; /* taps from top to bottom */
    int64_t a_down; /* stride of A from tap to tap down */
    int64_t b_down; /* stride of B from tap to tap down */
    int64_t taps_across; /* taps from left to right */
    int64_t a_across; /* stride of A from tap to tap across */
    int64_t b_across; /* stride of B from tap to tap across */
    int64_t depth; /* elements of a tap, which lie side by side in the array that is read */
    int64_t b_depth; /* stride of B along depth; 0: packed in blocks */
    int64_t b_block; /* stride of B from block to block */
    int64_t groups; /* groups of channels */
    int64_t a_group; /* stride of A from group to group */
    int64_t b_group; /* stride of B from group to group */
    int64_t c_group; /* stride of C from group to group */
    int64_t accumulator_init; /* what the sums start from: INIT_ZERO, INIT_BIAS, INIT_C or
        INIT_ROW_BIAS */
    int64_t epilogue; /* what becomes of the sums: STORE, LEAKY_RELU, LEAKY_GRADIENT or UPDATE */
    int64_t blocks_outside; /* whether blocks of B are the outer loop */
    int64_t last_columns; /* columns of the last row of C */
    int64_t no_integers[3];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* dw[tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]; db[n] = sum of dy[pixel, n]
 * */
struct conv_weight_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address dy; /* gradient of the output */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address rate; /* float64: the learning rate of each step of the run; may be NULL */
    address no_pointers[7];
    int64_t samples;
    int64_t rows; /* rows of dy */
    int64_t columns; /* columns of dy */
    int64_t vectors; /* vectors of a block of dw */
    int64_t outputs; /* output channels of a group */
    int64_t tile_rows; /* rows of a tile: elements along depth */
    int64_t a_sample; /* stride of A from sample to sample of what is written, or of dy */
    int64_t a_row; /* stride of A from row to row of it */
    int64_t a_column; /* stride of A from column to column of it */
    int64_t dy_sample; /* stride of dy from sample to sample */
    int64_t dy_row; /* stride of dy from row to row */
    int64_t dy_column; /* stride of dy from column to column */
    int64_t taps_down; /* taps from top to bottom */
    int64_t a_down; /* stride of A from tap to tap down */
    int64_t dw_down; /* stride of dw from tap to tap down */
    int64_t taps_across; /* taps from left to right */
    int64_t a_across; /* stride of A from tap to tap across */
    int64_t dw_across; /* stride of dw from tap to tap across */
    int64_t depth; /* elements of a tap, which lie side by side in the array that is read */
    int64_t dw_depth; /* stride of dw along depth */
    int64_t groups; /* groups of channels */
    int64_t a_group; /* stride of A from group to group */
    int64_t dy_group; /* stride of dy from group to group */
    int64_t dw_group; /* stride of dw from group to group */
    int64_t together; /* samples that are taken through all tiles together; all of them for UPDATE
        */
    int64_t epilogue; /* STORE or UPDATE */
    int64_t no_integers[6];
    double decay; /* UPDATE: factor of rate * w that is subtracted beside */
    double bias_decay; /* UPDATE: factor of rate * b that is subtracted beside */
    double no_reals[13];
    address condition;
};

/* y[sample][output][pixel] = bias + sum over k of w[output][k] matrix[k][pixel], with the im2col
 * matrix of images in NCHW */
struct im2col_tiles {
    struct instruction_head head;
    address x; /* the input */
    address w; /* the weights */
    address y; /* the output */
    address bias; /* for each output channel of all groups; may be NULL */
    address no_pointers[8];
    int64_t samples;
    int64_t channels; /* input channels of a group */
    int64_t height; /* rows of the images that are read */
    int64_t width; /* columns of the images that are read */
    int64_t rows; /* rows of what is written */
    int64_t columns; /* columns of what is written */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t stride_down; /* rows of x from row to row of y */
    int64_t stride_across; /* columns of x from column to column of y */
    int64_t dilation_down; /* rows of x from tap to tap */
    int64_t dilation_across; /* columns of x from tap to tap */
    int64_t top; /* padding above */
    int64_t left; /* padding at the left */
    int64_t groups; /* groups of channels */
    int64_t outputs; /* output channels of a group */
    int64_t vectors; /* vectors of a block of the matrix */
    int64_t tile_rows; /* rows of a tile: outputs */
    int64_t pixels_together; /* columns of the matrix that are made together: whole blocks */
    int64_t depth_together; /* rows of the matrix that are made together */
    int64_t outputs_together; /* outputs of a piece of work */
    int64_t no_integers[11];
    double no_reals[15];
    address condition;
};

/* y = x among zeros: padding around images, and more channels */
struct pad_images {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t samples;
    int64_t height; /* rows of x */
    int64_t width; /* columns of x */
    int64_t channels; /* channels of x */
    int64_t out_height; /* rows of y */
    int64_t out_width; /* columns of y */
    int64_t out_channels; /* channels of y */
    int64_t top; /* row of y where the first pixel of x goes; negative: a crop */
    int64_t left; /* column of y where the first pixel of x goes */
    int64_t no_integers[23];
    double no_reals[15];
    address condition;
};

/* packed[group][block][tap down][tap across][k][lane] = w[...] */
struct pack_weights {
    struct instruction_head head;
    address w; /* the weights */
    address packed; /* the copy in blocks, each filled up to whole vectors with zeros */
    address no_pointers[10];
    int64_t groups; /* groups of channels */
    int64_t vectors; /* vectors of a block */
    int64_t outputs; /* output channels of a group */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t depth; /* elements of a tap */
    int64_t w_group; /* stride of w from group to group */
    int64_t w_output; /* stride of w from output to output */
    int64_t w_down; /* stride of w from tap to tap down; they may go backwards */
    int64_t w_across; /* stride of w from tap to tap across */
    int64_t w_depth; /* stride of w along depth */
    int64_t packed_group; /* stride of the copy from group to group */
    int64_t packed_block; /* stride of the copy from block to block */
    int64_t no_integers[19];
    double no_reals[15];
    address condition;
};

/* packed[block][tap down][tap across][k][phase, input] = w[...]: the weights of some sub-pixel
 * phases of the columns side by side */
struct pack_subpixel_phases {
    struct instruction_head head;
    address w; /* the weights */
    address packed; /* the copy in blocks, each filled up to whole vectors with zeros */
    address no_pointers[10];
    int64_t vectors; /* vectors of a block */
    int64_t phases; /* sub-pixel phases */
    int64_t inputs; /* input channels */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t depth; /* elements of a tap, side by side in w */
    int64_t w_down; /* stride of w from tap to tap down */
    int64_t w_across; /* stride of w from column to column of the kernel */
    int64_t w_input; /* stride of w from input to input */
    int64_t first; /* column of the kernel of the first phase and the first tap across */
    int64_t step; /* columns of the kernel from tap to tap across */
    int64_t packed_block; /* stride of the copy from block to block */
    int64_t no_integers[20];
    double no_reals[15];
    address condition;
};

/* total[channel] = sum over pixels */
struct sum_pixels {
    struct instruction_head head;
    address x; /* the input */
    address total; /* what is written */
    address no_pointers[10];
    int64_t pixels; /* pixels of all images */
    int64_t channels;
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y[sample, row, column, c] = b[c] + sum over taps of x[..., c] w[tap, c] */
struct depthwise_tiles {
    struct instruction_head head;
    address x; /* the input */
    address w; /* the weights */
    address b; /* for each channel; may be NULL */
    address y; /* the output */
    address no_pointers[8];
    int64_t samples;
    int64_t channels;
    int64_t height; /* rows of x */
    int64_t width; /* columns of x */
    int64_t rows; /* rows of what is written */
    int64_t columns; /* columns of what is written */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t stride_down; /* rows of x from row to row of what is written, or of dy */
    int64_t stride_across; /* columns of x from column to column of it */
    int64_t dilation_down; /* rows of x from tap to tap */
    int64_t dilation_across; /* columns of x from tap to tap */
    int64_t top; /* padding above */
    int64_t left; /* padding at the left */
    int64_t w_down; /* stride of w from tap to tap down; a data gradient takes them backwards */
    int64_t w_across; /* stride of w from tap to tap across */
    int64_t first_row; /* row of y where to begin */
    int64_t first_column; /* column of y where to begin */
    int64_t row_step; /* rows of y from one that is written to the next: a data gradient writes its
        sub-pixel phases one by one */
    int64_t column_step; /* columns of y from one that is written to the next */
    int64_t y_height; /* rows of all of y */
    int64_t y_width; /* columns of all of y */
    int64_t no_integers[10];
    double no_reals[15];
    address condition;
};

/* dw[tap, c] = sum over samples and pixels of x[..., c] dy[pixel, c]; db[c] = sum of dy[pixel, c]
 * */
struct depthwise_weight_tiles {
    struct instruction_head head;
    address x; /* the input */
    address dy; /* gradient of the output */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address no_pointers[8];
    int64_t samples;
    int64_t channels;
    int64_t height; /* rows of x */
    int64_t width; /* columns of x */
    int64_t rows; /* rows of dy */
    int64_t columns; /* columns of dy */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t stride_down; /* rows of x from row to row of what is written, or of dy */
    int64_t stride_across; /* columns of x from column to column of it */
    int64_t dilation_down; /* rows of x from tap to tap */
    int64_t dilation_across; /* columns of x from tap to tap */
    int64_t top; /* padding above */
    int64_t left; /* padding at the left */
    int64_t no_integers[18];
    double no_reals[15];
    address condition;
};

/* every channel repeated, or the repetitions added up: for more than one output channel for each
 * input channel */
struct spread_channels {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address b; /* for each channel; only where they are added up; may be NULL */
    address no_pointers[9];
    int64_t pixels; /* pixels of all images */
    int64_t channels; /* channels without the repetition */
    int64_t times; /* how often a channel is there */
    int64_t adds; /* whether to add up */
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n], a vector of
 * samples at a time */
struct batch_blocked_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address b; /* the weights */
    address c; /* what is written */
    address bias; /* for each output channel of all groups; may be NULL */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[7];
    int64_t samples; /* vectors of samples */
    int64_t rows; /* rows of what is written */
    int64_t columns; /* columns of what is written */
    int64_t tile_outputs; /* outputs of a tile */
    int64_t outputs; /* output channels of a group */
    int64_t tile_pixels; /* pixels of a tile */
    int64_t a_sample; /* stride of A from sample to sample of what is written, or of dy */
    int64_t a_row; /* stride of A from row to row of it */
    int64_t a_column; /* stride of A from column to column of it */
    int64_t c_sample; /* stride of C from sample to sample */
    int64_t c_row; /* stride of C from row to row */
    int64_t c_column; /* stride of C from column to column */
    int64_t taps_down; /* taps from top to bottom */
    int64_t a_down; /* stride of A from tap to tap down */
    int64_t b_down; /* stride of B from tap to tap down */
    int64_t taps_across; /* taps from left to right */
    int64_t a_across; /* stride of A from tap to tap across */
    int64_t b_across; /* stride of B from tap to tap across */
    int64_t depth; /* elements of a tap, which lie side by side in the array that is read */
    int64_t b_depth; /* stride of B along depth */
    int64_t groups; /* groups of channels */
    int64_t a_group; /* stride of A from group to group */
    int64_t b_group; /* stride of B from group to group */
    int64_t c_group; /* stride of C from group to group */
    int64_t epilogue; /* what becomes of the sums: STORE, LEAKY_RELU, LEAKY_GRADIENT or UPDATE */
    int64_t first_row; /* where row 0 and the first tap down are, from the beginning of the image */
    int64_t image; /* elements of the image */
    int64_t first_column; /* where column 0 and the first tap across are, from the left edge */
    int64_t image_row; /* elements of a row of the image */
    int64_t no_integers[3];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* dw[part][tap, k, n] = sum over the samples of a part, and pixels, of A[...] dy[pixel, n];
 * db[part][n] = sum of dy[pixel, n] */
struct batch_blocked_weight_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address dy; /* gradient of the output */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address sums; /* workspace: the sums of each lane */
    address no_pointers[7];
    int64_t samples; /* vectors of samples */
    int64_t rows; /* rows of dy */
    int64_t columns; /* columns of dy */
    int64_t tile_outputs; /* outputs of a tile */
    int64_t outputs; /* output channels of a group */
    int64_t tile_inputs; /* elements along depth of a tile */
    int64_t a_sample; /* stride of A from sample to sample of what is written, or of dy */
    int64_t a_row; /* stride of A from row to row of it */
    int64_t a_column; /* stride of A from column to column of it */
    int64_t dy_sample; /* stride of dy from sample to sample */
    int64_t dy_row; /* stride of dy from row to row */
    int64_t dy_column; /* stride of dy from column to column */
    int64_t taps_down; /* taps from top to bottom */
    int64_t a_down; /* stride of A from tap to tap down */
    int64_t dw_down; /* stride of dw from tap to tap down */
    int64_t taps_across; /* taps from left to right */
    int64_t a_across; /* stride of A from tap to tap across */
    int64_t dw_across; /* stride of dw from tap to tap across */
    int64_t depth; /* elements of a tap, which lie side by side in the array that is read */
    int64_t dw_depth; /* stride of dw along depth */
    int64_t groups; /* groups of channels */
    int64_t a_group; /* stride of A from group to group */
    int64_t dy_group; /* stride of dy from group to group */
    int64_t dw_group; /* stride of dw from group to group */
    int64_t parts; /* parts of the samples, each with a sum of its own */
    int64_t first_row; /* where row 0 and the first tap down are, from the beginning of the image */
    int64_t image; /* elements of the image */
    int64_t rows_together; /* rows that are taken through the tiles of a tap down together */
    int64_t dw_part; /* elements of the gradient of a part */
    int64_t no_integers[3];
    double no_reals[15];
    address condition;
};

/* transformed[place][block][k][n] = G g G' of the weights g of input k and output n */
struct winograd_weights {
    struct instruction_head head;
    address w; /* the weights */
    address transformed; /* what is written */
    address no_pointers[10];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t outputs; /* output channels, whole blocks */
    int64_t inputs; /* input channels */
    int64_t vectors; /* vectors of a block */
    int64_t w_down; /* stride of w from row to row of the kernel */
    int64_t w_across; /* stride of w from column to column of the kernel */
    int64_t w_input; /* stride of w from input to input */
    int64_t place; /* stride of the result from place to place: no multiple of 4 KiB, with which all
        places would be in one set of a cache */
    int64_t no_integers[24];
    double no_reals[15];
    address condition;
};

/* C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n] */
struct winograd_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address b; /* the transformed weights */
    address c; /* what is written */
    address bias; /* for each output channel of all groups; may be NULL */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[7];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t samples;
    int64_t tile_rows; /* rows of tiles */
    int64_t tiles; /* tiles of a row */
    int64_t vectors; /* vectors of a block */
    int64_t outputs; /* output channels of a group */
    int64_t together; /* tiles of a group, at most */
    int64_t a_sample; /* stride of A from sample to sample */
    int64_t a_row; /* stride of A from row to row */
    int64_t a_column; /* stride of A from pixel to pixel */
    int64_t height; /* rows of the images that are read */
    int64_t width; /* columns of the images that are read */
    int64_t top; /* rows above the image where the first tiles begin; what is outside of it is 0 */
    int64_t left; /* pixels beside it */
    int64_t c_sample; /* stride of C from sample to sample */
    int64_t c_row; /* stride of C from row to row */
    int64_t c_column; /* stride of C from column to column */
    int64_t c_height; /* rows of C: what the last tiles have beyond them is left out */
    int64_t c_width; /* pixels of a row of C */
    int64_t inputs; /* input channels */
    int64_t epilogue; /* what becomes of the sums: STORE, LEAKY_RELU, LEAKY_GRADIENT or UPDATE */
    int64_t place; /* stride of the weights from place to place */
    int64_t no_integers[10];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* transformed[place][tile][k] = (B' d B)[place][k] of the pixels d that a tile sees */
struct winograd_pixels {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address transformed; /* what is written */
    address no_pointers[10];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t first; /* number of the first tile, counted through the samples */
    int64_t count; /* tiles */
    int64_t tile_rows; /* rows of tiles of a sample */
    int64_t tiles; /* tiles of a row */
    int64_t a_sample; /* stride of A from sample to sample */
    int64_t a_row; /* stride of A from row to row */
    int64_t a_column; /* stride of A from pixel to pixel */
    int64_t height; /* rows of the images that are read */
    int64_t width; /* columns of the images that are read */
    int64_t top; /* rows above the image where the first tiles begin; what is outside of it is 0 */
    int64_t left; /* pixels beside it */
    int64_t inputs; /* input channels */
    int64_t no_integers[19];
    double no_reals[15];
    address condition;
};

/* C[sample, row, column, n] = bias + (A' m A)[row, column][n] of the sums m of a tile, whose parts
 * are added in their order */
struct winograd_outputs {
    struct instruction_head head;
    address sums; /* of each part and place, tile by tile */
    address c; /* what is written */
    address bias; /* for each output channel of all groups; may be NULL */
    address no_pointers[9];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t first; /* number of the first tile, counted through the samples */
    int64_t count; /* tiles */
    int64_t tile_rows; /* rows of tiles of a sample */
    int64_t tiles; /* tiles of a row */
    int64_t c_sample; /* stride of C from sample to sample */
    int64_t c_row; /* stride of C from row to row */
    int64_t c_column; /* stride of C from column to column */
    int64_t c_height; /* rows of C: what the last tiles have beyond them is left out */
    int64_t c_width; /* pixels of a row of C */
    int64_t outputs; /* output channels of a group */
    int64_t parts; /* parts of the sums */
    int64_t no_integers[20];
    double no_reals[15];
    address condition;
};

/* sums[part][place][k][n] = sum over the tiles of the part's samples of (B' d B)[k] (A dy A')[n];
 * bias_sums[part][n] = sum of dy */
struct winograd_weight_sums {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address dy; /* gradient of the output */
    address sums; /* what is written */
    address bias_sums; /* float64: what is written for the bias; may be NULL */
    address no_pointers[8];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t samples;
    int64_t tile_rows; /* rows of tiles */
    int64_t tiles; /* tiles of a row */
    int64_t vectors; /* vectors of a block */
    int64_t outputs; /* output channels of a group */
    int64_t tile_inputs; /* inputs of a tile of sums */
    int64_t a_sample; /* stride of A from sample to sample */
    int64_t a_row; /* stride of A from row to row */
    int64_t a_column; /* stride of A from pixel to pixel */
    int64_t height; /* rows of the images that are read */
    int64_t width; /* columns of the images that are read */
    int64_t top; /* rows above the image where the first tiles begin; what is outside of it is 0 */
    int64_t left; /* pixels beside it */
    int64_t dy_sample; /* stride of dy from sample to sample */
    int64_t dy_row; /* stride of dy from row to row */
    int64_t dy_column; /* stride of dy from column to column */
    int64_t dy_height; /* rows of dy */
    int64_t dy_width; /* pixels of a row of dy */
    int64_t inputs; /* input channels */
    int64_t parts; /* parts of the samples, each with a sum of its own */
    int64_t together; /* tiles that are taken through all products together */
    int64_t sums_row; /* stride of the sums from input to input, and of bias_sums from part to part
        */
    int64_t sums_place; /* stride of the sums from place to place */
    int64_t no_integers[8];
    double no_reals[15];
    address condition;
};

/* dw[tap][k][n] = G' u G of the sums u of all parts, which are added in their order; db likewise */
struct winograd_weight_gradient {
    struct instruction_head head;
    address sums; /* those of winograd_weight_sums */
    address bias_sums; /* float64: those of winograd_weight_sums; may be NULL */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address rate; /* float64: the learning rate of each step of the run; may be NULL */
    address no_pointers[7];
    int64_t side; /* outputs of a tile, down and across: 2 or 4 */
    int64_t inputs; /* input channels */
    int64_t outputs; /* output channels of a group */
    int64_t parts; /* how many there are */
    int64_t epilogue; /* STORE or UPDATE */
    int64_t no_integers[27];
    double decay; /* UPDATE: factor of rate * w that is subtracted beside */
    double bias_decay; /* UPDATE: factor of rate * b that is subtracted beside */
    double no_reals[13];
    address condition;
};

/* y[plane, row, column] = b + sum over taps of the filter times the plane of x; the planes of y are
 * the others */
struct plane_products {
    struct instruction_head head;
    address x; /* the input */
    address w; /* the weights */
    address b; /* for each channel; may be NULL */
    address y; /* the output */
    address no_pointers[8];
    struct plane_sizes plane_sizes;
    int64_t no_integers[5];
    double no_reals[15];
    address condition;
};

/* dw[part][channel, tap] = sum over samples of a part, and pixels, of x times dy; db[part][channel]
 * = sum of dy; the planes of dy are the others */
struct plane_weight_products {
    struct instruction_head head;
    address x; /* the input */
    address dy; /* gradient of the output */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address no_pointers[8];
    struct plane_sizes plane_sizes;
    int64_t parts; /* parts of the samples, each with a sum of its own */
    int64_t together; /* channels that are taken through the samples together */
    int64_t no_integers[3];
    double no_reals[15];
    address condition;
};

/* c[i, j] = sum over k of a[i, k] b[j, k]: rows of two matrices, contiguous along k */
struct row_products {
    struct instruction_head head;
    address a; /* a matrix */
    address b; /* a matrix */
    address c; /* what is written */
    address no_pointers[9];
    int64_t a_rows; /* rows of a */
    int64_t b_rows; /* rows of b */
    int64_t depth; /* elements of a row */
    int64_t a_row; /* stride of a from row to row */
    int64_t b_row; /* stride of b from row to row */
    int64_t c_row; /* stride of c from row to row */
    int64_t no_integers[26];
    double no_reals[15];
    address condition;
};

/* y = b + the sum of parts, in their order */
struct add_parts {
    struct instruction_head head;
    address terms; /* the parts, one behind the other */
    address b; /* what is repeated as often as it goes into y; may be NULL */
    address y; /* the output */
    address no_pointers[9];
    int64_t size; /* elements of y */
    int64_t b_size; /* elements of b */
    int64_t parts; /* how many there are */
    int64_t epilogue; /* STORE or LEAKY_RELU */
    int64_t no_integers[28];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* for one sample, dx[i] = sum over j of dy[j] w[i, j] with the weights as they are, then w = keep *
 * w - rate * x[i] dy[j]; and the same update of b */
struct dense_backward_update {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address w; /* the weights */
    address b; /* the bias; may be NULL */
    address dx; /* gradient of the input */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[5];
    int64_t inputs; /* elements of x */
    int64_t outputs; /* elements of dy */
    int64_t epilogue; /* STORE or LEAKY_GRADIENT */
    int64_t no_integers[29];
    double decay; /* factor of rate * w that is subtracted beside */
    double bias_decay; /* factor of rate * b that is subtracted beside */
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[12];
    address condition;
};

/* w -= rate * (dw + 2 l2 w[:weights] + coupled w[:decayed]) + rate decoupled w[:decayed] */
struct sgd_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[9];
    struct parameter_ranges parameter_ranges;
    int64_t no_integers[29];
    struct penalties penalties;
    double rate_factor; /* of the learning rate */
    double no_reals[11];
    address condition;
};

/* m = momentum m + share g, then w -= rate m, or for nesterov of share g + momentum m; g and the
 * decoupled decay as in sgd_update */
struct momentum_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address m; /* the velocity, which is updated */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[8];
    struct parameter_ranges parameter_ranges;
    int64_t nesterov; /* whether it is Nesterov's */
    int64_t scheduled; /* whether a momentum is behind each step's rate; 2: and share is 1 less it
        */
    int64_t no_integers[27];
    struct penalties penalties;
    double momentum; /* what is kept of the velocity */
    double share; /* of the gradient in the velocity */
    double rate_factor; /* of the learning rate */
    double no_reals[9];
    address condition;
};

/* Adam; g and the decoupled decay as in sgd_update */
struct adam_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address m; /* running mean of the gradient, which is updated */
    address v; /* running mean of its square, which is updated */
    address rate; /* float64: the learning rate of each step of the run */
    address step; /* int64: the number of the run's first step */
    address no_pointers[6];
    struct parameter_ranges parameter_ranges;
    int64_t scheduled; /* whether a beta1 is behind each step's rate */
    int64_t no_integers[28];
    struct penalties penalties;
    double beta1; /* what is kept of m */
    double beta2; /* what is kept of v */
    double epsilon; /* is added to the root */
    double rate_factor; /* of the learning rate */
    double no_reals[8];
    address condition;
};

/* RMSprop, centred where there is mean, with momentum where there is m; g and the decoupled decay
 * as in sgd_update */
struct rmsprop_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address v; /* running mean of the gradient's square, which is updated */
    address mean; /* running mean of the gradient, which is updated; may be NULL */
    address m; /* the velocity, which is updated; may be NULL */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[6];
    struct parameter_ranges parameter_ranges;
    int64_t no_integers[29];
    struct penalties penalties;
    double alpha; /* what is kept of v and mean */
    double epsilon; /* is added to the root */
    double momentum; /* what is kept of the velocity */
    double rate_factor; /* of the learning rate */
    double no_reals[8];
    address condition;
};

/* Adagrad; g and the decoupled decay as in sgd_update */
struct adagrad_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address v; /* sum of the gradient's squares, which is updated */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[8];
    struct parameter_ranges parameter_ranges;
    int64_t no_integers[29];
    struct penalties penalties;
    double epsilon; /* is added to the root */
    double rate_factor; /* of the learning rate */
    double no_reals[10];
    address condition;
};

/* NAdam; g and the decoupled decay as in sgd_update */
struct nadam_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address dw; /* their gradient */
    address m; /* running mean of the gradient, which is updated */
    address v; /* running mean of its square, which is updated */
    address rate; /* float64: the learning rate of each step of the run */
    address step; /* int64: the number of the run's first step */
    address no_pointers[6];
    struct parameter_ranges parameter_ranges;
    int64_t no_integers[29];
    struct penalties penalties;
    double beta1; /* what is kept of m */
    double beta2; /* what is kept of v */
    double epsilon; /* is added to the root */
    double momentum_decay; /* how fast the momentum of a step comes up to beta1 */
    double rate_factor; /* of the learning rate */
    double no_reals[7];
    address condition;
};

/* of LAMB: Adam's running means, and the direction u with its decay; g as in sgd_update */
struct lamb_direction {
    struct instruction_head head;
    address w; /* the parameters */
    address dw; /* their gradient */
    address m; /* running mean of the gradient, which is updated */
    address v; /* running mean of its square, which is updated */
    address step; /* int64: the number of the run's first step */
    address u; /* workspace: the direction */
    address no_pointers[6];
    struct parameter_ranges parameter_ranges;
    int64_t no_integers[29];
    struct penalties penalties;
    double beta1; /* what is kept of m */
    double beta2; /* what is kept of v */
    double epsilon; /* is added to the root */
    double no_reals[9];
    address condition;
};

/* the rest of LAMB: w -= rate ||w|| / ||u|| u */
struct lamb_apply {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address u; /* the direction */
    address w_sums; /* float64: the squared_sums of w */
    address u_sums; /* float64: the squared_sums of u */
    address rate; /* float64: the learning rate of each step of the run */
    address no_pointers[7];
    int64_t size; /* parameters */
    int64_t no_integers[31];
    double rate_factor; /* of the learning rate */
    double no_reals[14];
    address condition;
};

/* where t % steps == 0: slow += alpha * (w - slow), w = slow */
struct lookahead_update {
    struct instruction_head head;
    address w; /* the parameters, which are updated */
    address slow; /* the slow weights, which are updated */
    address step; /* int64: the number of the run's first step */
    address no_pointers[9];
    int64_t size; /* parameters */
    int64_t steps; /* from one synchronisation to the next */
    int64_t no_integers[30];
    double alpha; /* share of the way that the slow weights go */
    double no_reals[14];
    address condition;
};

/* the sum of the squares of each block of 1024 elements */
struct squared_sums {
    struct instruction_head head;
    address x; /* the elements */
    address sums; /* float64: one for each block */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* x *= min(1, limit / (norm + epsilon)), or limit / max(norm, epsilon) */
struct scale_by_norm {
    struct instruction_head head;
    address x; /* what is scaled */
    address sums; /* float64: the squared_sums of x */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t normalizes; /* whether a smaller norm becomes the limit too */
    int64_t no_integers[30];
    double limit; /* the largest norm */
    double epsilon; /* against a norm of 0 */
    double no_reals[13];
    address condition;
};

/* each element between -limit and limit; NaN stays */
struct clip_by_value {
    struct instruction_head head;
    address x; /* what is clipped */
    address no_pointers[11];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double limit; /* the largest magnitude */
    double no_reals[14];
    address condition;
};

/* total = keep total + share dw; without total where keep is 0 */
struct accumulate {
    struct instruction_head head;
    address dw; /* the gradient */
    address total; /* what it is added to */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double share; /* factor of the gradient */
    double keep; /* factor of what is there */
    double no_reals[13];
    address condition;
};

/* m = momentum m + (1 - momentum) dw; direction = m, or for nesterov (1 - momentum) dw + momentum m
 * */
struct muon_direction {
    struct instruction_head head;
    address dw; /* the gradient */
    address m; /* its running mean, which is updated */
    address direction; /* of the step, before it is made orthogonal */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t nesterov; /* whether it is Nesterov's */
    int64_t no_integers[30];
    double momentum; /* what is kept of m */
    double no_reals[14];
    address condition;
};

/* polynomial = b gram + c square, and a more on the diagonal */
struct newton_schulz_polynomial {
    struct instruction_head head;
    address gram; /* a matrix by its transpose */
    address square; /* gram by gram */
    address polynomial; /* of the Newton-Schulz iteration */
    address no_pointers[9];
    int64_t rows; /* rows of each matrix, and its columns */
    int64_t no_integers[31];
    double a; /* factor of the unit matrix */
    double b; /* factor of gram */
    double c; /* factor of square */
    double no_reals[12];
    address condition;
};

/* y = f(x); y may be x */
struct activation_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t kind; /* number of the kind in fastconv.plans.activations.ACTIVATIONS */
    int64_t no_integers[30];
    double alpha; /* of ELU's part below 0, scale * alpha for SELU; slope of a leaky ReLU */
    double scale; /* of SELU */
    double no_reals[13];
    address condition;
};

/* dx = dy * f'(x), the derivative from y; dx may be dy */
struct activation_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address y; /* the output */
    address dx; /* gradient of the input */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t kind; /* number of the kind in fastconv.plans.activations.ACTIVATIONS */
    int64_t no_integers[30];
    double alpha; /* as in activation_forward */
    double scale; /* of SELU */
    double no_reals[13];
    address condition;
};

/* y = f(x) by a formula of the table of activations; y may be x */
struct formula_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t kind; /* number of the kind in fastconv.plans.activations.ACTIVATIONS */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* dx = dy * f'(x) by a formula; dx may be dy */
struct formula_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address kept; /* x or y, whichever the activation keeps */
    address dx; /* gradient of the input */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t kind; /* number of the kind in fastconv.plans.activations.ACTIVATIONS */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y = f(x), or dy * f(x), with a function that was compiled elsewhere; y may be x or dy */
struct elementwise {
    struct instruction_head head;
    address dy; /* gradient that is multiplied; may be NULL */
    address x; /* the input */
    address y; /* the output */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t function; /* address of a function (dy, x, y, size) that computes so many elements */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y = x where it is positive, else x times a slope; y may be x */
struct prelu_forward {
    struct instruction_head head;
    address x; /* the input */
    address slope; /* the slopes below 0 */
    address y; /* the output */
    address no_pointers[9];
    int64_t rows;
    int64_t channels;
    int64_t slopes; /* 1, or as many as there are channels */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dx = dy, times the slope where x is not positive; dx may be dy; sums = those of dy * x where x is
 * not positive, of each channel in each block of rows */
struct prelu_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address slope; /* the slopes below 0 */
    address dx; /* gradient of the input */
    address sums; /* float64: (blocks, channels) */
    address no_pointers[7];
    int64_t rows;
    int64_t channels;
    int64_t slopes; /* 1, or as many as there are channels */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* the sums of all blocks; with one slope, of all channels too */
struct prelu_slopes {
    struct instruction_head head;
    address sums; /* float64: (blocks, channels) */
    address dslope; /* gradient of the slopes */
    address no_pointers[10];
    int64_t rows;
    int64_t channels;
    int64_t slopes; /* 1, or as many as there are channels */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* y = e^x / sum(e^x) in each row */
struct softmax_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t rows;
    int64_t classes; /* elements of a row */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dx = y (dy - sum(dy y)) in each row */
struct softmax_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address y; /* the output */
    address dx; /* gradient of the input */
    address no_pointers[9];
    int64_t rows;
    int64_t classes; /* elements of a row */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* y = x - log(sum(e^x)) in each row */
struct log_softmax_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address powers; /* workspace: e to the power of each element */
    address no_pointers[9];
    int64_t rows;
    int64_t classes; /* elements of a row */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dx = dy - e^y sum(dy) in each row */
struct log_softmax_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address y; /* the output */
    address dx; /* gradient of the input */
    address powers; /* workspace: e to the power of each element */
    address no_pointers[8];
    int64_t rows;
    int64_t classes; /* elements of a row */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* losses = log(sum(e^scores)) - scores[label], and the softmax */
struct softmax_cross_entropy_forward {
    struct instruction_head head;
    address scores; /* of each sample and class */
    address labels; /* int64: the class of each sample */
    address losses; /* one for each sample */
    address probabilities; /* the softmax */
    address no_pointers[8];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dscores = (probabilities - (1 at the label)) / batch */
struct softmax_cross_entropy_backward {
    struct instruction_head head;
    address probabilities; /* of each sample and class */
    address labels; /* int64: the class of each sample */
    address dscores; /* gradient of the scores */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* losses = -scores[label] */
struct nll_forward {
    struct instruction_head head;
    address scores; /* log-probabilities of each sample and class */
    address labels; /* int64: the class of each sample */
    address losses; /* one for each sample */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dscores = -1 / batch at the labels, 0 elsewhere */
struct nll_backward {
    struct instruction_head head;
    address labels; /* int64: the class of each sample */
    address dscores; /* gradient of the log-probabilities */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* losses = mean over the outputs of (y - target)^2 */
struct mean_squared_error_forward {
    struct instruction_head head;
    address y; /* the output */
    address target; /* what y should be */
    address losses; /* one for each sample */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* elements of a sample */
    int64_t together; /* rows that are done together, so that the number of threads does not matter
        */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* dy = 2 (y - target) / size */
struct mean_squared_error_backward {
    struct instruction_head head;
    address y; /* the output */
    address target; /* what y should be */
    address dy; /* gradient of y */
    address no_pointers[9];
    int64_t size; /* elements of all samples */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* statistics[0] += sum of the losses, statistics[2] += batch */
struct sum_losses {
    struct instruction_head head;
    address losses; /* one for each sample */
    address statistics; /* float64: sum of losses, correct samples, samples */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* statistics[1] += samples whose first largest score is at the label */
struct count_correct {
    struct instruction_head head;
    address scores; /* of each sample and class */
    address labels; /* int64: the class of each sample */
    address statistics; /* float64: sum of losses, correct samples, samples */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* targets = 1 at the label, else 0; NaN for a label that is none of the classes */
struct one_hot {
    struct instruction_head head;
    address labels; /* int64: the class of each sample */
    address targets; /* a distribution over the classes for each sample */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* losses = sum of q (log(sum(e^scores)) - scores), and the softmax; q is the target, smoothed,
 * times the weight of the class */
struct soft_cross_entropy_forward {
    struct instruction_head head;
    address scores; /* of each sample and class */
    address targets; /* a distribution over the classes for each sample */
    address class_weights; /* of each class; null for 1; may be NULL */
    address losses; /* one for each sample */
    address probabilities; /* the softmax */
    address no_pointers[7];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t no_integers[30];
    double label_smoothing; /* share of the targets that is spread over all classes */
    double no_reals[14];
    address condition;
};

/* dscores = (probabilities sum(q) - q) / batch */
struct soft_cross_entropy_backward {
    struct instruction_head head;
    address probabilities; /* of each sample and class */
    address targets; /* a distribution over the classes for each sample */
    address class_weights; /* of each class; null for 1; may be NULL */
    address dscores; /* gradient of the scores */
    address no_pointers[8];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t no_integers[30];
    double label_smoothing; /* share of the targets that is spread over all classes */
    double no_reals[14];
    address condition;
};

/* losses = mean over the outputs of the loss of each */
struct elementwise_loss_forward {
    struct instruction_head head;
    address y; /* the output */
    address target; /* what y should be */
    address losses; /* one for each sample */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* elements of a sample */
    int64_t kind; /* number of the kind in fastconv.plans.loss_operation.ELEMENTWISE_LOSS_KINDS */
    int64_t no_integers[29];
    double delta; /* of Huber's loss */
    double no_reals[14];
    address condition;
};

/* dy = derivative / size */
struct elementwise_loss_backward {
    struct instruction_head head;
    address y; /* the output */
    address target; /* what y should be */
    address dy; /* gradient of y */
    address no_pointers[9];
    int64_t size; /* elements of all samples */
    int64_t kind; /* number of the kind in fastconv.plans.loss_operation.ELEMENTWISE_LOSS_KINDS */
    int64_t no_integers[30];
    double delta; /* of Huber's loss */
    double no_reals[14];
    address condition;
};

/* factors = own weight of each sample, 0 where ignored; weights = those times the classes'; counted
 * = labels, or -1 where the factor is 0 */
struct label_weights {
    struct instruction_head head;
    address labels; /* int64: the class of each sample */
    address class_weights; /* of each class; null for 1; may be NULL */
    address sample_weights; /* of each sample; null for 1; may be NULL */
    address counted; /* int64: the labels that count */
    address factors; /* what the loss of each sample counts; 0 for nothing */
    address weights; /* what each sample counts in the mean */
    address no_pointers[6];
    int64_t batch; /* samples */
    int64_t outputs; /* classes */
    int64_t has_ignore_index; /* whether a label is ignored */
    int64_t ignore_index; /* that label */
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* losses = factors * losses, 0 where the factor is 0 */
struct weigh_losses {
    struct instruction_head head;
    address factors; /* what the loss of each sample counts; 0 for nothing */
    address losses; /* one for each sample */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* dscores = dscores * factors * batch / sum(weights), 0 where the factor is 0 */
struct weigh_gradients {
    struct instruction_head head;
    address factors; /* what the loss of each sample counts; 0 for nothing */
    address weights; /* what each sample counts in the mean */
    address dscores; /* gradient of a mean over the batch, which becomes that of a mean by weights
        */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t outputs; /* elements of a sample */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* statistics[0] += losses, [2] += samples whose factor is not 0, [3] += weights */
struct sum_weighted_losses {
    struct instruction_head head;
    address losses; /* one for each sample */
    address factors; /* what the loss of each sample counts; 0 for nothing */
    address weights; /* what each sample counts in the mean */
    address statistics; /* float64: sum of losses, correct samples, samples, sum of weights */
    address no_pointers[8];
    int64_t batch; /* samples */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* the first words of a stream at a step */
struct random_words {
    struct instruction_head head;
    address step; /* int64: the number of the run's first step */
    address words; /* uint32: what is written */
    address no_pointers[10];
    int64_t count; /* words */
    struct random_key random_key;
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* x[n] = images[indices[step * batch + n]] */
struct gather_images {
    struct instruction_head head;
    address images; /* uint8, float or double: all images */
    address indices; /* int64: for each step of the run, the samples of its batch */
    address x; /* the batch */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t elements; /* elements of an image */
    int64_t itemsize; /* bytes of an element of the images: 1, 4 or 8 */
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* gather_images of bytes and min_max_images in one */
struct gather_min_max_images {
    struct instruction_head head;
    address images; /* uint8: all images */
    address indices; /* int64: for each step of the run, the samples of its batch */
    address x; /* the batch */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t elements; /* elements of an image */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y[n] = rows[indices[step * batch + n]]: labels or targets of any type */
struct gather_rows {
    struct instruction_head head;
    address rows; /* all rows */
    address indices; /* int64: for each step of the run, the samples of its batch */
    address y; /* those of the batch */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t bytes; /* of a row */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y = x * factor; y may be x */
struct scale_images {
    struct instruction_head head;
    address x; /* the input */
    address factor; /* float64: one number */
    address y; /* the output */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* y = (x - mean) / std, mean and std repeating with a period; y may be x */
struct standardize_images {
    struct instruction_head head;
    address x; /* the input */
    address mean; /* of each element of a period */
    address std; /* standard deviation of each element of a period */
    address y; /* the output */
    address no_pointers[8];
    int64_t rows; /* periods */
    int64_t period; /* elements of a period */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y = (x - smallest) / (largest - smallest) of each image; a constant image becomes 0 */
struct min_max_images {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t elements; /* elements of an image */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* flip, crop, warp, cut out; fastconv.plans.operation.AugmentSpec has the formulas */
struct augment_images {
    struct instruction_head head;
    address x; /* the input */
    address step; /* int64: the number of the run's first step */
    address y; /* the output */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t height; /* rows of an image */
    int64_t width; /* columns of an image */
    int64_t channels;
    int64_t flip; /* whether it flips */
    int64_t crop; /* pixels that an image is moved by, at most */
    int64_t warps; /* whether it warps */
    int64_t cutout; /* side of the square that is cut out; 0: none */
    struct random_key random_key;
    int64_t no_integers[21];
    double rotation; /* radians, at most */
    double shear; /* radians, at most */
    double translation; /* part of a side, at most */
    double no_reals[12];
    address condition;
};

/* colours and erasing, in place; fastconv.plans.jitter.JitterSpec has the formulas */
struct jitter_images {
    struct instruction_head head;
    address x; /* the input */
    address step; /* int64: the number of the run's first step */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t height; /* rows of an image */
    int64_t width; /* columns of an image */
    int64_t channels;
    struct random_key random_key;
    int64_t no_integers[25];
    double brightness; /* largest change of the factor */
    double contrast; /* largest change of the factor */
    double saturation; /* largest change of the factor */
    double erase; /* probability of a rectangle of 0 */
    double erase_area; /* its largest share of the area */
    double no_reals[10];
    address condition;
};

/* a part of each image; fastconv.plans.augmentation.CropSpec has the formulas */
struct crop_images {
    struct instruction_head head;
    address x; /* the input */
    address indices; /* int64: for each step of the run, the samples of its batch */
    address step; /* int64: the number of the run's first step */
    address y; /* the output */
    address no_pointers[8];
    int64_t batch; /* samples */
    int64_t height; /* rows of an image */
    int64_t width; /* columns of an image */
    int64_t channels;
    int64_t flip; /* its place in fastconv.plans.augmentation.FLIPS */
    int64_t crop; /* pixels that an image is moved by, at most */
    int64_t steps_per_epoch; /* of alternating flips */
    struct random_key random_key;
    int64_t no_integers[22];
    double least_area; /* smallest share of the area that is resized to the whole; 0: none is */
    double no_reals[14];
    address condition;
};

/* mixup and cutmix; fastconv.plans.augmentation.MixSpec has the formulas */
struct mix_images {
    struct instruction_head head;
    address x; /* the input */
    address step; /* int64: the number of the run's first step */
    address y; /* the output */
    address partners; /* int64: what each image is mixed with */
    address shares; /* what is left of each image */
    address no_pointers[7];
    int64_t batch; /* samples */
    int64_t height; /* rows of an image */
    int64_t width; /* columns of an image */
    int64_t channels;
    struct random_key random_key;
    int64_t no_integers[25];
    double mixup; /* parameter of the Beta distribution; 0: none */
    double cutmix; /* parameter of the Beta distribution; 0: none */
    double no_reals[13];
    address condition;
};

/* y[n] = shares[n] * rows[n] + (1 - shares[n]) * rows[partners[n]] */
struct mix_rows {
    struct instruction_head head;
    address rows; /* a row for each sample */
    address partners; /* int64: what each row is mixed with */
    address shares; /* what is left of each row */
    address y; /* the output */
    address no_pointers[8];
    int64_t batch; /* samples */
    int64_t elements; /* elements of a row */
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* mask = word >> 8 >= threshold, y = scale x where kept, else 0 */
struct dropout_forward {
    struct instruction_head head;
    address x; /* the input */
    address step; /* int64: the number of the run's first step */
    address mask; /* uint8: 1 where kept */
    address y; /* the output */
    address no_pointers[8];
    int64_t size; /* elements */
    int64_t threshold; /* a word below it drops its element */
    struct random_key random_key;
    int64_t no_integers[27];
    double scale; /* factor of what is written */
    double no_reals[14];
    address condition;
};

/* dx = scale dy where kept, else 0 */
struct dropout_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address mask; /* uint8: 1 where kept */
    address dx; /* gradient of the input */
    address no_pointers[9];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double scale; /* factor of what is written */
    double no_reals[14];
    address condition;
};

/* y = scale x in the channels of a sample that are kept, else 0; y may be x */
struct drop_channels {
    struct instruction_head head;
    address x; /* the input */
    address mask; /* uint8: for each channel of each sample, 1 where kept */
    address y; /* the output */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of a sample */
    int64_t channels;
    int64_t no_integers[29];
    double scale; /* factor of what is written */
    double no_reals[14];
    address condition;
};

/* y = some pixels of x by their shares, along each axis by itself */
struct resample_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t height; /* rows of x */
    int64_t width; /* columns of x */
    int64_t channels;
    int64_t out_height; /* rows of y */
    int64_t out_width; /* columns of y */
    int64_t top; /* row of y where the first pixel of x is; negative: a crop */
    int64_t left; /* column of y where the first pixel of x is */
    int64_t kind; /* number of the kind in fastconv.plans.resample_operation.RESAMPLE_KINDS */
    int64_t align_corners; /* whether the corners of x and y are the same points */
    int64_t no_integers[22];
    double no_reals[15];
    address condition;
};

/* dx = the shares of each pixel of the gradients that it is a part of */
struct resample_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address dx; /* gradient of the input */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t height; /* rows of x */
    int64_t width; /* columns of x */
    int64_t channels;
    int64_t out_height; /* rows of y */
    int64_t out_width; /* columns of y */
    int64_t top; /* row of y where the first pixel of x is; negative: a crop */
    int64_t left; /* column of y where the first pixel of x is */
    int64_t kind; /* number of the kind in fastconv.plans.resample_operation.RESAMPLE_KINDS */
    int64_t align_corners; /* whether the corners of x and y are the same points */
    int64_t no_integers[22];
    double no_reals[15];
    address condition;
};

/* the largest pixel of each window, and its flat index in the plane of the image */
struct max_pool2d_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address argmax; /* int32: flat index of each maximum in the plane of its image */
    address no_pointers[9];
    struct pool_windows pool_windows;
    int64_t no_integers[17];
    double no_reals[15];
    address condition;
};

/* add the gradient of each window to the pixel of its maximum */
struct max_pool2d_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address argmax; /* int32: flat index of each maximum in the plane of its image */
    address dx; /* gradient of the input */
    address no_pointers[9];
    struct pool_windows pool_windows;
    int64_t no_integers[17];
    double no_reals[15];
    address condition;
};

/* the same for windows of 2x2 that lie side by side without padding */
struct max_pool2d_backward_pairs {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address argmax; /* int32: flat index of each maximum in the plane of its image */
    address dx; /* gradient of the input */
    address no_pointers[9];
    struct pool_windows pool_windows;
    int64_t no_integers[17];
    double no_reals[15];
    address condition;
};

/* the mean of each window */
struct avg_pool2d_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    struct pool_windows pool_windows;
    int64_t no_integers[17];
    double no_reals[15];
    address condition;
};

/* spread the gradient of each window evenly over its pixels */
struct avg_pool2d_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address dx; /* gradient of the input */
    address no_pointers[10];
    struct pool_windows pool_windows;
    int64_t no_integers[17];
    double no_reals[15];
    address condition;
};

/* the mean of each channel over all pixels */
struct global_avg_pool2d_forward {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of an image */
    int64_t channels;
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* spread each channel's gradient evenly over all pixels */
struct global_avg_pool2d_backward {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address dx; /* gradient of the input */
    address no_pointers[10];
    int64_t batch; /* samples */
    int64_t height; /* rows of the images */
    int64_t width; /* columns of the images */
    int64_t channels;
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* the gradient of each pooled pixel with the place of the maximum that it belongs to, and the same
 * in the order of these places */
struct pooled_lists {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address argmax; /* int32: flat index of each maximum in the plane of its image */
    address y; /* the pooled output; NULL: there is no activation before the pool; may be NULL */
    address gradient; /* dy, times the slope of the activation */
    address offset; /* int32: of each maximum, in elements of x */
    address sorted_gradient; /* by place in the window; NULL: no data gradient is made; may be NULL
        */
    address channel; /* int32: of each sorted gradient; may be NULL */
    address count; /* int32: how many of a pixel have each of the four places; may be NULL */
    address no_pointers[4];
    int64_t samples;
    int64_t rows; /* pooled rows */
    int64_t columns; /* pooled columns */
    int64_t channels; /* channels of dy */
    int64_t plane_width; /* columns of the plane that argmax counts in */
    int64_t x_row; /* stride of x from row to row */
    int64_t x_pixel; /* stride of x from pixel to pixel */
    int64_t no_integers[25];
    double slope; /* of the activation */
    double no_reals[14];
    address condition;
};

/* dw[n][i][j] = sum over samples and pooled pixels of gradient * x, for each channel n of dy */
struct pooled_weight_tiles {
    struct instruction_head head;
    address x; /* the input */
    address gradient; /* of each pooled pixel */
    address offset; /* int32: of each maximum, in elements of x */
    address dw; /* gradient of the weights, by output channel */
    address db; /* gradient of the bias; may be NULL */
    address no_pointers[7];
    int64_t samples;
    int64_t pixels; /* pooled pixels of a sample */
    int64_t channels; /* channels of dy */
    int64_t x_sample; /* stride of x from sample to sample */
    int64_t x_row; /* stride of x from row to row */
    int64_t taps_down; /* taps from top to bottom */
    int64_t vectors; /* vectors of a row of taps */
    int64_t tile_rows; /* rows of taps in a tile */
    int64_t band; /* pooled pixels of a band, which is taken through all channels */
    int64_t no_integers[23];
    double no_reals[15];
    address condition;
};

/* dx of a 3x3 convolution: every pooled pixel adds to a region of 4x4 pixels */
struct pooled_data_tiles {
    struct instruction_head head;
    address gradient; /* of each pooled pixel, sorted by place in the window */
    address channel; /* int32: of each sorted gradient */
    address count; /* int32: how many of a pixel have each of the four places */
    address w; /* the weights as [vector of dx][channel of dy][9][lane] */
    address dx; /* gradient of the input */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[6];
    int64_t samples;
    int64_t rows; /* pooled rows */
    int64_t columns; /* pooled columns */
    int64_t channels; /* channels of dy */
    int64_t height; /* rows of dx */
    int64_t width; /* columns of dx */
    int64_t inputs; /* channels of dx */
    int64_t strip; /* rows of a strip, which is a piece of work */
    int64_t epilogue; /* STORE or LEAKY_GRADIENT */
    int64_t no_integers[23];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* dw[k][n] = sums[n][k], as a gradient or as an update */
struct transpose_weights {
    struct instruction_head head;
    address sums; /* the gradient by output channel */
    address bias_sums; /* the gradient of the bias; may be NULL */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address rate; /* float64: the learning rate of each step of the run; may be NULL */
    address no_pointers[7];
    int64_t depth; /* elements for each output channel */
    int64_t outputs; /* output channels of a group */
    int64_t epilogue; /* STORE or UPDATE */
    int64_t no_integers[29];
    double decay; /* UPDATE: factor of rate * w that is subtracted beside */
    double bias_decay; /* UPDATE: factor of rate * b that is subtracted beside */
    double no_reals[13];
    address condition;
};

/* of each block of rows, the sum of x and that of the squared distances from its mean */
struct norm_sums {
    struct instruction_head head;
    address x; /* the input */
    address sums; /* float64: two sums of each channel for each block of rows */
    address no_pointers[10];
    int64_t rows;
    int64_t channels;
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* mean and inverse standard deviation of all rows, the running statistics, and gamma / standard
 * deviation */
struct norm_statistics {
    struct instruction_head head;
    address sums; /* float64: two sums of each channel for each block of rows */
    address gamma; /* for each channel */
    address running_mean; /* for each channel, which is updated */
    address running_variance; /* for each channel, which is updated */
    address mean; /* for each channel */
    address inverse_std; /* 1 / standard deviation for each channel */
    address factor; /* gamma / standard deviation */
    address no_pointers[5];
    int64_t rows;
    int64_t channels;
    int64_t no_integers[30];
    double epsilon; /* is added to a variance */
    double momentum; /* share of this batch in the running statistics */
    double no_reals[13];
    address condition;
};

/* factor = gamma / sqrt(variance + epsilon) */
struct norm_factor {
    struct instruction_head head;
    address gamma; /* for each channel */
    address variance; /* for each channel */
    address factor; /* for each channel */
    address no_pointers[9];
    int64_t channels;
    int64_t no_integers[31];
    double epsilon; /* is added to a variance */
    double no_reals[14];
    address condition;
};

/* y = (x - mean) * factor + beta + addend, or what the epilogue makes of it; y may be x or the
 * addend */
struct norm_apply {
    struct instruction_head head;
    address x; /* the input */
    address mean; /* for each channel */
    address factor; /* for each channel */
    address beta; /* what is added at the end, for each channel */
    address y; /* the output */
    address addend; /* as many elements as x has; may be NULL */
    address no_pointers[6];
    int64_t rows;
    int64_t channels;
    int64_t epilogue; /* STORE or LEAKY_RELU */
    int64_t no_integers[29];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* of each block of rows, the sum of dy and that of dy * z with z = (x - mean) * inverse_std */
struct norm_gradient_sums {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address mean; /* for each channel */
    address inverse_std; /* 1 / standard deviation for each channel */
    address sums; /* float64: two sums of each channel for each block of rows */
    address no_pointers[7];
    int64_t rows;
    int64_t channels;
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* dbeta = sum of dy, dgamma = sum of dy * z, and what dx takes of them */
struct norm_gradients {
    struct instruction_head head;
    address sums; /* float64: two sums of each channel for each block of rows */
    address gamma; /* for each channel */
    address inverse_std; /* 1 / standard deviation for each channel */
    address dgamma; /* gradient of gamma */
    address dbeta; /* gradient of beta */
    address means; /* the means of dy, then those of dy * z */
    address factor; /* gamma * inverse_std */
    address no_pointers[5];
    int64_t rows;
    int64_t channels;
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* dx = factor * (dy - mean of dy - z * mean of dy * z) */
struct norm_backward_data {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address mean; /* for each channel */
    address inverse_std; /* 1 / standard deviation for each channel */
    address means; /* the means of dy, then those of dy * z */
    address factor; /* gamma * inverse_std */
    address dx; /* gradient of the input */
    address no_pointers[5];
    int64_t rows;
    int64_t channels;
    int64_t no_integers[30];
    double no_reals[15];
    address condition;
};

/* y = gamma (x - mean) inverse_std + beta, by the statistics of each group of channels of each
 * sample */
struct group_norm_forward {
    struct instruction_head head;
    address x; /* the input */
    address gamma; /* for each channel; null for 1; may be NULL */
    address beta; /* for each channel; null for 0; may be NULL */
    address y; /* the output */
    address mean; /* for each group of each sample */
    address inverse_std; /* for each group of each sample */
    address no_pointers[6];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of a sample */
    int64_t channels;
    int64_t groups; /* groups of channels */
    int64_t no_integers[28];
    double epsilon; /* is added to a variance */
    double no_reals[14];
    address condition;
};

/* dx = inverse_std (g - mean of g - z mean of g z), g = gamma dy */
struct group_norm_backward_data {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address gamma; /* for each channel; null for 1; may be NULL */
    address mean; /* for each group of each sample */
    address inverse_std; /* for each group of each sample */
    address dx; /* gradient of the input */
    address no_pointers[6];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of a sample */
    int64_t channels;
    int64_t groups; /* groups of channels */
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* dgamma = sum of dy z, dbeta = sum of dy */
struct group_norm_backward_parameters {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x; /* the input */
    address mean; /* for each group of each sample */
    address inverse_std; /* for each group of each sample */
    address dgamma; /* gradient of gamma */
    address dbeta; /* gradient of beta; null where nobody wants it; may be NULL */
    address no_pointers[6];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of a sample */
    int64_t channels;
    int64_t groups; /* groups of channels */
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* y[n][row of c][j] = x[n][row of j][c] for matrices n; j and c run through the rows and columns of
 * x in the order of x_period and the rows of y in that of y_period */
struct transpose {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t matrices;
    int64_t rows; /* rows of a matrix of x */
    int64_t columns; /* columns of a matrix of x */
    int64_t x_period; /* row j of the order is row j % period * (rows / period) + j / period of x; 1
        is the order of the matrix */
    int64_t y_period; /* the same of the rows of y */
    int64_t tile_rows; /* rows of a tile */
    int64_t tile_columns; /* columns of a tile */
    int64_t no_integers[25];
    double no_reals[15];
    address condition;
};

/* y = x1 (+) x2, or what the epilogue makes of it; y may be x1 or x2 */
struct merge_elements {
    struct instruction_head head;
    address x1; /* rows of channels */
    address x2; /* as many, or a row for each image */
    address y; /* the output */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[8];
    int64_t rows;
    int64_t channels;
    int64_t pixels; /* rows of an image, where x2 has a row for each; 0: as many as x1 */
    int64_t operation; /* number of (+) in fastconv/backends/compiled/rules/merge.py */
    int64_t epilogue; /* STORE, LEAKY_RELU or LEAKY_GRADIENT */
    int64_t no_integers[27];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* total = the sum over the pixels of each image of dy, or of dy * x1 */
struct sum_of_each_image {
    struct instruction_head head;
    address dy; /* gradient of the output */
    address x1; /* the other factor; may be NULL */
    address total; /* for each image and channel */
    address no_pointers[9];
    int64_t batch; /* samples */
    int64_t pixels; /* pixels of an image */
    int64_t channels;
    int64_t no_integers[29];
    double no_reals[15];
    address condition;
};

/* the columns of each row of x to a row of y */
struct copy_rows {
    struct instruction_head head;
    address x; /* the input */
    address y; /* the output */
    address no_pointers[10];
    int64_t rows;
    int64_t columns; /* elements of a row that are copied */
    int64_t x_row; /* stride of x from row to row */
    int64_t y_row; /* stride of y from row to row */
    int64_t no_integers[28];
    double no_reals[15];
    address condition;
};

/* found[part] = whether a NaN or an infinity is in that part of x */
struct find_not_finite {
    struct instruction_head head;
    address x; /* the input */
    address found; /* int64: 16 words, a condition of other instructions */
    address no_pointers[10];
    int64_t size; /* elements */
    int64_t no_integers[31];
    double no_reals[15];
    address condition;
};

/* packed[group][16 columns][step] = 32 rows of the matrix of weights, [tap, k][column], in pairs */
struct bf16_pack_weights {
    struct instruction_head head;
    address w; /* the weights */
    address packed; /* bf16: tiles of 16 rows of 16 pairs, filled up with zeros */
    address no_pointers[10];
    int64_t groups; /* groups of channels */
    int64_t outputs; /* output channels of a group */
    int64_t taps_down; /* taps from top to bottom */
    int64_t taps_across; /* taps from left to right */
    int64_t depth; /* weights of a tap and a column */
    int64_t w_group; /* stride of w from group to group */
    int64_t w_output; /* stride of w from column to column */
    int64_t w_down; /* stride of w from tap to tap down */
    int64_t w_across; /* stride of w from tap to tap across */
    int64_t w_depth; /* stride of w along depth */
    int64_t no_integers[22];
    double no_reals[15];
    address condition;
};

/* C[sample, row, column, n] = bias[n] + sum over taps and k of A[...] B[tap, k, n], factors rounded
 * to bf16 */
struct bf16_tiles {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address packed; /* those of bf16_pack_weights */
    address c; /* what is written */
    address scratch; /* memory of each thread for what it rounds */
    address bias; /* for each output channel of all groups; may be NULL */
    address other; /* LEAKY_GRADIENT: the array whose signs choose, with the strides of what is
        written; may be NULL */
    address no_pointers[6];
    struct patches patches;
    int64_t c_sample; /* stride of C from sample to sample */
    int64_t c_row; /* stride of C from row to row */
    int64_t c_column; /* stride of C from column to column */
    int64_t c_group; /* stride of C from group to group */
    int64_t packed_group; /* bf16 from group to group */
    int64_t band_rows; /* rows of what is written, or of dy, that are done together */
    int64_t by_bands; /* whether A is read as it lies, rounded; else its patches are copied */
    int64_t patch_elements; /* the first of them, which hold float32 patches */
    int64_t scratch_thread; /* elements of it from thread to thread */
    int64_t epilogue; /* what becomes of the sums: STORE, LEAKY_RELU or LEAKY_GRADIENT */
    int64_t no_integers[4];
    double slope; /* of a leaky ReLU below 0 */
    double no_reals[14];
    address condition;
};

/* sums[part][group][tap, k][n] = sum over samples of a part, and pixels, of A[...] dy[pixel, n],
 * factors rounded to bf16; bias_sums[part][n] = sum of dy */
struct bf16_weight_sums {
    struct instruction_head head;
    address a; /* the array that is read along its patches: x for a forward pass, dy for a data
        gradient */
    address dy; /* gradient of the output */
    address sums; /* whole tiles of rows and columns */
    address scratch; /* memory of each thread for what it rounds */
    address bias_sums; /* float64: of all groups; may be NULL */
    address no_pointers[7];
    struct patches patches;
    int64_t parts; /* parts of the samples, each with sums of its own */
    int64_t together; /* bands that are summed in registers */
    int64_t depth_block; /* channels of a group that are done together */
    int64_t band_rows; /* rows of what is written, or of dy, that are done together */
    int64_t by_bands; /* whether A is read as it lies, rounded; else its patches are copied */
    int64_t patch_elements; /* the first of them, which hold float32 patches */
    int64_t scratch_thread; /* elements of it from thread to thread */
    int64_t no_integers[7];
    double no_reals[15];
    address condition;
};

/* dw[tap, k][group][n] = the sums of all parts, which are added in their order; db likewise */
struct bf16_weight_gradient {
    struct instruction_head head;
    address sums; /* those of bf16_weight_sums */
    address dw; /* gradient of the weights; with UPDATE the weights, which are updated */
    address bias_sums; /* float64: those of bf16_weight_sums; may be NULL */
    address db; /* gradient of the bias; with UPDATE the bias, which is updated; may be NULL */
    address rate; /* float64: the learning rate of each step of the run; may be NULL */
    address no_pointers[7];
    int64_t groups; /* groups of channels */
    int64_t rows; /* taps times the channels of a group */
    int64_t outputs; /* output channels of a group */
    int64_t parts; /* how many there are */
    int64_t epilogue; /* STORE or UPDATE */
    int64_t no_integers[27];
    double decay; /* UPDATE: factor of rate * w that is subtracted beside */
    double bias_decay; /* UPDATE: factor of rate * b that is subtracted beside */
    double no_reals[13];
    address condition;
};

#endif
