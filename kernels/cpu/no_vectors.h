/* Forget the names of vectors.h, before it is included for another type. */
#undef VECTOR
#undef LANES
#undef MASKS
#undef INDICES
#undef HAS_VECTORS
#undef CAN_TRANSPOSE
#undef NO_SUMS
