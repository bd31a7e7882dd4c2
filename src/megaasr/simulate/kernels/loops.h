/* The simulator's inner loops: float32 mono audio at 16 kHz, changed in place unless stated.
 *
 * Included by native.c once for each vector width, with
 *   WIDTH      floats in a vector: 4 or 8
 *   TARGET     the attribute that allows a function to use instructions for such vectors
 *   NAMED(f)   the name of f in this version
 *
 * Recursions process LANES parts of the clip in parallel (each warmed up on the samples before it),
 * delays longer than a block are computed elementwise within the block, and no sum depends on
 * WIDTH. Built with -ffp-contract=off, the result is therefore the same on every processor.
 */

#define KERNEL TARGET static
#define INLINE TARGET static inline __attribute__((always_inline))
/* A GNU extension (gcc, clang). */
typedef float NAMED(vector) __attribute__((vector_size(WIDTH * sizeof(float))));
#define vector_t NAMED(vector)

#include "delays.h"
#include "recursions.h"

static const struct loops NAMED(loops) = {
    NAMED(first_order_sections), NAMED(k_weighted_sums), NAMED(reverb), NAMED(echo), NAMED(drive),
    NAMED(half_rate_trip), NAMED(frame_sums), NAMED(add_noise), NAMED(noise_sum),
    NAMED(scale_and_clip), NAMED(peak),
};

#undef KERNEL
#undef INLINE
#undef vector_t
#undef WIDTH
#undef TARGET
#undef NAMED
