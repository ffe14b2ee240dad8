/* Every kernel for one element type REAL, with TYPE in the names. */
#include "elements.h"
#include "vectors.h"

#include "gemm.h"
#include "conv.h"
#include "depthwise.h"
#include "dense.h"
#include "reductions.h"
#include "exponential.h"

#include "optim.h"
#include "activation.h"
#include "loss.h"
#include "random.h"
#include "input.h"
#include "augment.h"
#include "dropout.h"
#include "pool.h"
#include "pooled.h"
#include "norm.h"
#include "layout.h"

#include "no_vectors.h"
