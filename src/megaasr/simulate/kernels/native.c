/* The simulator's inner loops: float32 mono audio at 16 kHz, in place unless said.
 *
 * Recursions run as LANES independent pieces of the clip side by side (each warmed up on the
 * samples before it), delays longer than a block make their block elementwise, and no sum
 * depends on the width of a vector. Built with -ffp-contract=off the result is therefore the
 * same on every processor.
 *
 * The callers, one module a primitive, see to it that arrays are contiguous and of the right type.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__)
#define KERNEL __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KERNEL
#endif
#if !defined(__GNUC__) && !defined(__clang__)
#error "needs the vector types of gcc and clang (on Windows: clang-cl); else portable.py is used"
#endif
#define INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))

typedef Py_ssize_t isize;

static isize smaller(isize a, isize b) { return a < b ? a : b; }

/* ---- Lanes: LANES pieces of `length` samples each, a tile of LANES time steps at once ---- */

#define LANES 16
/* One number of each lane; a GNU extension (gcc, clang), lowered to the vectors that exist. */
typedef float lanes_t __attribute__((vector_size(LANES * sizeof(float))));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) /* clang, gcc from 12 on */
#define SHUFFLES
#endif
#endif

/* Rows become columns. */
INLINE void transpose(lanes_t rows[LANES])
{
    lanes_t next[LANES];
#ifdef SHUFFLES
    /* Row i is interleaved with row i + 8, four times: an index of eight bits, row and column,
     * goes round by four. */
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = __builtin_shufflevector(rows[i], rows[i + 8], 0, 16, 1, 17, 2, 18, 3, 19,
                                                  4, 20, 5, 21, 6, 22, 7, 23);
            next[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 8], 8, 24, 9, 25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(rows, next, sizeof next);
    }
#else
    for (int row = 0; row < LANES; row++)
        for (int column = 0; column < LANES; column++)
            next[column][row] = rows[row][column];
    memcpy(rows, next, sizeof next);
#endif
}

/* tile[time][lane] = x[first + lane * length + time]; zero outside the clip. */
INLINE void load_tile(const float *x, isize n, isize first, isize length,
                      lanes_t tile[LANES])
{
    const float *from[LANES];
    float edge[LANES][LANES];

    for (int lane = 0; lane < LANES; lane++) {
        isize at = first + lane * length;
        from[lane] = x + at;
        if (at < 0 || at + LANES > n) {
            for (int time = 0; time < LANES; time++)
                edge[lane][time] = at + time >= 0 && at + time < n ? x[at + time] : 0.0f;
            from[lane] = edge[lane];
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        memcpy(&tile[lane], from[lane], sizeof(lanes_t));
    transpose(tile);
}

INLINE void store_tile(float *x, isize n, isize first, isize length,
                       lanes_t tile[LANES])
{
    transpose(tile);
    for (int lane = 0; lane < LANES; lane++) {
        isize at = first + lane * length;
        isize count = smaller(LANES, n - at);
        if (count == LANES)
            memcpy(x + at, &tile[lane], sizeof(lanes_t));
        else if (count > 0)
            memcpy(x + at, &tile[lane], (size_t)count * sizeof(float));
    }
}

static isize round_up(isize value, isize step) { return (value + step - 1) / step * step; }

/* ---- Cascade of first-order sections: y[t] = x[t] + b x[t-1] - a y[t-1], then one gain ---- */

#define MOST_SECTIONS 32

KERNEL static void first_order_sections(float *x, isize n, const float *b, const float *a,
                                        int sections, float gain, isize warm_up)
{
    lanes_t last_x[MOST_SECTIONS], last_y[MOST_SECTIONS];
    lanes_t tile[LANES];
    isize length = round_up((n + LANES - 1) / LANES, LANES);

    memset(last_x, 0, sizeof last_x);
    memset(last_y, 0, sizeof last_y);
    /* All lanes read their warm-up before any of them writes, so in place is safe. */
    for (isize first = -round_up(warm_up, LANES); first < length; first += LANES) {
        load_tile(x, n, first, length, tile);
        for (int section = 0; section < sections; section++) {
            float zero = b[section], pole = a[section];
            lanes_t before = last_x[section], y = last_y[section];
            for (int time = 0; time < LANES; time++) {
                lanes_t in = tile[time];
                y = (in + zero * before) - pole * y;
                before = in;
                tile[time] = y;
            }
            last_x[section] = before;
            last_y[section] = y;
        }
        if (first >= 0) {
            for (int time = 0; time < LANES; time++)
                tile[time] *= gain;
            store_tile(x, n, first, length, tile);
        }
    }
}

/* ---- BS.1770 K-weighting at 16 kHz, summed in squares over 100 ms ---- */

#define HOP 1600

/* Two second-order sections as state-variable filters (float32 stands the low cut-off):
 * per section v1 = a1 s1 + a2 (x - s2), v2 = s2 + a2 s1 + a3 (x - s2), y = m0 x + m1 v1 + m2 v2. */
KERNEL static void k_weighted_sums(const float *x, isize n, isize hops, const float *c,
                                   isize warm_up, double *sums)
{
    lanes_t state[4], tile[LANES];
    double sum[LANES] = {0};
    isize hops_a_lane = (hops + LANES - 1) / LANES, length = hops_a_lane * HOP;

    /* v1 and v2 put in: short chains from state to state, and both sections side by side. */
    float matrix[2][9];
    for (int section = 0; section < 2; section++) {
        const float *k = c + 6 * section;
        double a1 = k[0], a2 = k[1], a3 = k[2], m0 = k[3], m1 = k[4], m2 = k[5];
        double whole[9] = {2 * a1 - 1, -2 * a2, 2 * a2, 1 - 2 * a3, 2 * a2, 2 * a3,
                           m0 + m1 * a2 + m2 * a3, m1 * a1 + m2 * a2, m2 - m1 * a2 - m2 * a3};
        for (int i = 0; i < 9; i++)
            matrix[section][i] = (float)whole[i];
    }
    memset(state, 0, sizeof state);
    for (isize first = -round_up(warm_up, LANES); first < length; first += LANES) {
        lanes_t energy = {0};
        load_tile(x, n, first, length, tile);
        for (int time = 0; time < LANES; time++) {
            lanes_t in = tile[time];
            for (int section = 0; section < 2; section++) {
                const float *k = matrix[section];
                lanes_t s1 = state[2 * section], s2 = state[2 * section + 1];
                lanes_t out = k[6] * in + (k[7] * s1 + k[8] * s2);
                state[2 * section] = k[0] * s1 + (k[1] * s2 + k[2] * in);
                state[2 * section + 1] = k[3] * s2 + (k[4] * s1 + k[5] * in);
                in = out;
            }
            tile[time] = in;
        }
        if (first < 0)
            continue;
        /* Where the clip has ended the filters ring on, which is no part of it. */
        for (int lane = 0; lane < LANES; lane++) {
            isize left = n - first - lane * length;
            for (isize time = left > 0 ? left : 0; time < LANES; time++)
                tile[time][lane] = 0;
        }
        for (int time = 0; time < LANES; time++)
            energy += tile[time] * tile[time];
        for (int lane = 0; lane < LANES; lane++)
            sum[lane] += (double)energy[lane];
        if ((first + LANES) % HOP == 0) {
            isize hop = first / HOP;
            for (int lane = 0; lane < LANES; lane++) {
                if (lane * hops_a_lane + hop < hops)
                    sums[lane * hops_a_lane + hop] = sum[lane];
                sum[lane] = 0;
            }
        }
    }
}

/* ---- Freeverb, mono, its delays scaled to 16 kHz ---- */

#define BLOCK 400 /* below the shortest comb's delay, and a multiple of every vector's width */
#define BLOCKS 3  /* written before the past is moved to the front */
#define PAST 16
static const int COMB[8] = {404, 431, 463, 491, 515, 540, 564, 586};
static const int ALLPASS[4] = {201, 160, 123, 81};

/* A comb feeds back through a one-pole low-pass, pole d <= 0.4. Its response is d^k (1-d) to
 * below float32's resolution after 16 terms, and these are (1 + d z^-1 + d^2 z^-2 + d^3 z^-3)
 * (1 + d^4 z^-4 + d^8 z^-8 + d^12 z^-12): two short sums instead of a recursion. */
KERNEL static void reverb(float *x, isize n, float feedback, float d, float wet, float dry)
{
    static _Thread_local ALIGNED float comb[8][PAST + 592 + BLOCKS * BLOCK];
    static _Thread_local ALIGNED float allpass[4][208 + BLOCK];
    ALIGNED float in[BLOCK], sum[BLOCK], low_past[PAST + BLOCK];
    float *restrict low = low_past + PAST;
    float d2 = d * d, d3 = d2 * d, d4 = d2 * d2, d8 = d4 * d4, d12 = d8 * d4;
    float loop = feedback * (1.0f - d) / (1.0f - d8 * d8);
    int at = 0;

    memset(comb, 0, sizeof comb);
    memset(allpass, 0, sizeof allpass);
    memset(in, 0, sizeof in);
    for (isize first = 0; first < n; first += BLOCK) {
        int count = (int)smaller(n - first, BLOCK);
        for (int i = 0; i < count; i++)
            in[i] = 0.015f * x[first + i];
        for (int i = count; i < BLOCK; i++)
            in[i] = 0;
        memset(sum, 0, sizeof sum);
        for (int c = 0; c < 8; c++) {
            const float *restrict out = comb[c] + PAST + at;
            float *restrict next = comb[c] + PAST + at + COMB[c];
            for (int i = -12; i < 0; i++)
                low[i] = (out[i] + d * out[i - 1]) + (d2 * out[i - 2] + d3 * out[i - 3]);
            for (int i = 0; i < BLOCK; i++) {
                sum[i] += out[i];
                low[i] = (out[i] + d * out[i - 1]) + (d2 * out[i - 2] + d3 * out[i - 3]);
            }
            for (int i = 0; i < BLOCK; i++)
                next[i] = in[i] + loop * ((low[i] + d4 * low[i - 4])
                                          + (d8 * low[i - 8] + d12 * low[i - 12]));
        }
        at += BLOCK;
        if (at == BLOCKS * BLOCK) {
            for (int c = 0; c < 8; c++)
                memmove(comb[c], comb[c] + at, (size_t)(PAST + COMB[c]) * sizeof(float));
            at = 0;
        }
        for (int a = 0; a < 4; a++) {
            int chunk = ALLPASS[a] / 16 * 16;
            for (int from = 0; from < BLOCK; from += chunk) {
                int width = (int)smaller(BLOCK - from, chunk);
                float *restrict y = sum + from;
                const float *restrict old = allpass[a] + from;
                float *restrict next = allpass[a] + from + ALLPASS[a];
                for (int i = 0; i < width; i++) {
                    float stored = old[i], entering = y[i];
                    y[i] = stored - entering;
                    next[i] = entering + 0.5f * stored;
                }
            }
            memmove(allpass[a], allpass[a] + BLOCK, (size_t)ALLPASS[a] * sizeof(float));
        }
        for (int i = 0; i < count; i++)
            x[first + i] = wet * sum[i] + dry * x[first + i];
    }
}

/* ---- Discrete echo: w[t] = x[t-D] + feedback w[t-D]; y = (1 - mix) x + mix w ---- */

KERNEL static void echo(float *x, isize n, isize delay, float feedback, float mix, float *line)
{
    float dry = 1.0f - mix;
    memset(line, 0, (size_t)delay * sizeof(float));
    for (isize first = 0; first < n; first += delay) {
        isize count = smaller(n - first, delay);
        float *restrict y = x + first;
        float *restrict stored = line;
        for (isize i = 0; i < count; i++) {
            float in = y[i], w = stored[i];
            stored[i] = in + feedback * w;
            y[i] = dry * in + mix * w;
        }
    }
}

/* ---- tanh(gain x), by a rational fit (relative error below -125 dB) ---- */

KERNEL static void drive(float *x, isize n, float gain, const float *p, const float *q)
{
    for (isize i = 0; i < n; i++) {
        float v = gain * x[i];
        v = v > 8.5f ? 8.5f : v;
        v = v < -8.5f ? -8.5f : v;
        float z = v * v;
        float above = (((p[4] * z + p[3]) * z + p[2]) * z + p[1]) * z + p[0];
        float below = ((q[3] * z + q[2]) * z + q[1]) * z + q[0];
        float y = v * above / below;
        y = y > 1.0f ? 1.0f : y;
        x[i] = y < -1.0f ? -1.0f : y;
    }
}

/* ---- Down to half the rate and back with one symmetric low-pass of 2 * reach + 1 taps ---- */

#define WIDE 4 /* vectors of outputs at a time, so that a tap is loaded once for all */

INLINE lanes_t load_lanes(const float *from)
{
    lanes_t found;
    memcpy(&found, from, sizeof found);
    return found;
}

/* y[i] = sum over k of taps[k] x[i + k] for i in 0..n-1, for taps that read the same backwards.
 * x and y have room for n rounded up to whole runs. */
INLINE void correlate(const float *x, float *y, isize n, const float *taps, int count)
{
    for (isize i = 0; i < n; i += WIDE * LANES) {
        lanes_t sum[WIDE] = {{0}};
        for (int k = 0; k < count / 2; k++)
            for (int j = 0; j < WIDE; j++)
                sum[j] += taps[k] * (load_lanes(x + i + j * LANES + k)
                                     + load_lanes(x + i + j * LANES + count - 1 - k));
        if (count % 2)
            for (int j = 0; j < WIDE; j++)
                sum[j] += taps[count / 2] * load_lanes(x + i + j * LANES + count / 2);
        memcpy(y + i, sum, sizeof sum);
    }
}

static isize trip_stride(isize n, isize taps)
{
    return round_up((n + 1) / 2, WIDE * LANES) + taps;
}

/* `even` and `odd` are the taps at even and odd distance from the centre, in order; room has
 * 4 strides. Low-rate sample m lies on sample 2 m. */
KERNEL static void half_rate_trip(float *x, isize n, const float *even, int even_count,
                                  const float *odd, int odd_count, float *room)
{
    isize half = (n + 1) / 2, stride = trip_stride(n, even_count + odd_count);
    int even_reach = even_count / 2, odd_reach = odd_count / 2;
    float *low = room, *upper = room + stride, *part = room + 2 * stride, *sum = room + 3 * stride;

    memset(room, 0, (size_t)(2 * stride) * sizeof(float));
    for (isize m = 0; m < half; m++)
        low[even_reach + m] = x[2 * m];
    for (isize m = 0; m < n / 2; m++)
        upper[odd_reach + m] = x[2 * m + 1];
    correlate(low, sum, half, even, even_count);
    correlate(upper, part, half, odd, odd_count);
    memset(low, 0, (size_t)stride * sizeof(float));
    for (isize m = 0; m < half; m++)
        low[even_reach + m] = 2.0f * (sum[m] + part[m]);
    correlate(low, sum, half, even, even_count);
    correlate(low + even_reach - odd_reach + 1, part, half, odd, odd_count);
    for (isize m = 0; m < n / 2; m++) {
        x[2 * m] = sum[m];
        x[2 * m + 1] = part[m];
    }
    if (n % 2)
        x[n - 1] = sum[half - 1];
}

/* ---- Sums, noise, output ---- */

/* sums[f] = sum of squares of frame f; the last frame may be shorter. */
KERNEL static void frame_sums(const float *x, isize n, isize frame, double *sums)
{
    for (isize f = 0; f * frame < n; f++) {
        const float *from = x + f * frame;
        isize count = smaller(n - f * frame, frame), i = 0;
        float lanes[LANES] = {0};
        double sum = 0;
        for (; i + LANES <= count; i += LANES)
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane] += from[i + lane] * from[i + lane];
        for (int lane = 0; lane < LANES; lane++)
            sum += (double)lanes[lane];
        for (; i < count; i++)
            sum += (double)from[i] * from[i];
        sums[f] = sum;
    }
}

/* x += gain * noise, the noise read from `offset` on and repeated. */
KERNEL static void add_noise(float *x, isize n, const int16_t *noise, isize length, isize offset,
                             float gain)
{
    for (isize i = 0; i < n;) {
        isize count = smaller(n - i, length - offset);
        float *restrict y = x + i;
        const int16_t *restrict from = noise + offset;
        for (isize j = 0; j < count; j++)
            y[j] += gain * (float)from[j];
        i += count;
        offset = 0;
    }
}

/* Sum of squares of the noise that add_noise would add, in int16 units. */
KERNEL static double noise_sum(isize n, const int16_t *noise, isize length, isize offset)
{
    double sum = 0;
    for (isize i = 0; i < n;) {
        isize count = smaller(n - i, length - offset);
        const int16_t *from = noise + offset;
        for (isize j = 0; j < count;) {
            isize stop = smaller(count, j + 1024); /* squares of 1024 samples fit into 64 bits */
            int64_t part = 0;
            for (; j < stop; j++)
                part += (int32_t)from[j] * (int32_t)from[j];
            sum += (double)part;
        }
        i += count;
        offset = 0;
    }
    return sum;
}

/* x = clip(gain x, -1, 1); the number of clipped samples. */
KERNEL static isize scale_and_clip(float *x, isize n, float gain)
{
    isize clipped = 0;
    for (isize i = 0; i < n;) {
        isize stop = smaller(n, i + 65536);
        int32_t count = 0;
        for (; i < stop; i++) {
            float y = gain * x[i];
            count += (y > 1.0f) + (y < -1.0f);
            y = y > 1.0f ? 1.0f : y;
            x[i] = y < -1.0f ? -1.0f : y;
        }
        clipped += count;
    }
    return clipped;
}

/* The largest |x|; as integers, whose order is that of positive floats. */
KERNEL static float peak(const float *x, isize n)
{
    int32_t most = 0;
    float found;
    for (isize i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    memcpy(&found, &most, sizeof found);
    return found;
}

/* ---- Python ---- */

/* Numbers too small for a normal float count as zero meanwhile: silence after a recursion is
 * full of them, and processors take a hundred times as long over each. */
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int float_mode;
static float_mode flush_small(void)
{
    float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u);
    return before;
}
static void restore_mode(float_mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t float_mode;
static float_mode flush_small(void)
{
    float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
}
static void restore_mode(float_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
typedef int float_mode;
static float_mode flush_small(void) { return 0; }
static void restore_mode(float_mode mode) { (void)mode; }
#endif

/* Other threads run meanwhile. */
#define BEGIN Py_BEGIN_ALLOW_THREADS { float_mode saved_mode = flush_small();
#define END restore_mode(saved_mode); } Py_END_ALLOW_THREADS

static isize floats(const Py_buffer *buffer) { return buffer->len / (isize)sizeof(float); }

static PyObject *py_first_order_sections(PyObject *self, PyObject *args)
{
    Py_buffer x, b, a;
    float gain;
    Py_ssize_t warm_up;
    if (!PyArg_ParseTuple(args, "w*y*y*fn", &x, &b, &a, &gain, &warm_up))
        return NULL;
    if (b.len != a.len || floats(&b) > MOST_SECTIONS) {
        PyErr_SetString(PyExc_ValueError, "at most 32 sections, as many zeros as poles");
    } else {
        BEGIN
        first_order_sections(x.buf, floats(&x), b.buf, a.buf, (int)floats(&b), gain, warm_up);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&b);
    PyBuffer_Release(&a);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_k_weighted_sums(PyObject *self, PyObject *args)
{
    Py_buffer x, coefficients, sums;
    Py_ssize_t warm_up;
    if (!PyArg_ParseTuple(args, "y*y*nw*", &x, &coefficients, &warm_up, &sums))
        return NULL;
    isize hops = sums.len / (isize)sizeof(double);
    if (floats(&coefficients) != 12) {
        PyErr_SetString(PyExc_ValueError, "6 coefficients for each of two sections");
    } else {
        BEGIN
        k_weighted_sums(x.buf, floats(&x), hops, coefficients.buf, warm_up, sums.buf);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&coefficients);
    PyBuffer_Release(&sums);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_reverb(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float feedback, damp, wet, dry;
    if (!PyArg_ParseTuple(args, "w*ffff", &x, &feedback, &damp, &wet, &dry))
        return NULL;
    BEGIN
    reverb(x.buf, floats(&x), feedback, damp, wet, dry);
    END
    PyBuffer_Release(&x);
    return Py_NewRef(Py_None);
}

static PyObject *py_echo(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float feedback, mix;
    Py_ssize_t delay;
    if (!PyArg_ParseTuple(args, "w*nff", &x, &delay, &feedback, &mix))
        return NULL;
    float *line = delay > 0 ? malloc((size_t)delay * sizeof(float)) : NULL;
    if (line == NULL) {
        PyErr_SetString(PyExc_ValueError, "the delay must be at least one sample, and fit");
    } else {
        BEGIN
        echo(x.buf, floats(&x), delay, feedback, mix, line);
        END
    }
    free(line);
    PyBuffer_Release(&x);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_drive(PyObject *self, PyObject *args)
{
    Py_buffer x, above, below;
    float gain;
    if (!PyArg_ParseTuple(args, "w*fy*y*", &x, &gain, &above, &below))
        return NULL;
    if (floats(&above) != 5 || floats(&below) != 4) {
        PyErr_SetString(PyExc_ValueError, "5 coefficients above, 4 below");
    } else {
        BEGIN
        drive(x.buf, floats(&x), gain, above.buf, below.buf);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&above);
    PyBuffer_Release(&below);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_half_rate_trip(PyObject *self, PyObject *args)
{
    Py_buffer x, even, odd;
    if (!PyArg_ParseTuple(args, "w*y*y*", &x, &even, &odd))
        return NULL;
    isize n = floats(&x), stride = trip_stride(n, floats(&even) + floats(&odd));
    float *room = malloc((size_t)(4 * stride) * sizeof(float));
    if (room == NULL) {
        PyErr_NoMemory();
    } else {
        BEGIN
        half_rate_trip(x.buf, n, even.buf, (int)floats(&even), odd.buf, (int)floats(&odd), room);
        END
    }
    free(room);
    PyBuffer_Release(&x);
    PyBuffer_Release(&even);
    PyBuffer_Release(&odd);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_frame_sums(PyObject *self, PyObject *args)
{
    Py_buffer x, sums;
    Py_ssize_t frame;
    if (!PyArg_ParseTuple(args, "y*nw*", &x, &frame, &sums))
        return NULL;
    if (frame < 1 || (floats(&x) + frame - 1) / frame * (isize)sizeof(double) != sums.len) {
        PyErr_SetString(PyExc_ValueError, "one sum for every frame begun");
    } else {
        BEGIN
        frame_sums(x.buf, floats(&x), frame, sums.buf);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&sums);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_add_noise(PyObject *self, PyObject *args)
{
    Py_buffer x, noise;
    Py_ssize_t offset;
    float gain;
    if (!PyArg_ParseTuple(args, "w*y*nf", &x, &noise, &offset, &gain))
        return NULL;
    isize length = noise.len / (isize)sizeof(int16_t);
    if (offset < 0 || offset >= length) {
        PyErr_SetString(PyExc_ValueError, "the offset lies outside the noise");
    } else {
        BEGIN
        add_noise(x.buf, floats(&x), noise.buf, length, offset, gain);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&noise);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_noise_sum(PyObject *self, PyObject *args)
{
    Py_buffer noise;
    Py_ssize_t n, offset;
    double sum = 0;
    if (!PyArg_ParseTuple(args, "ny*n", &n, &noise, &offset))
        return NULL;
    isize length = noise.len / (isize)sizeof(int16_t);
    if (offset < 0 || offset >= length) {
        PyErr_SetString(PyExc_ValueError, "the offset lies outside the noise");
    } else {
        BEGIN
        sum = noise_sum(n, noise.buf, length, offset);
        END
    }
    PyBuffer_Release(&noise);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(sum);
}

static PyObject *py_scale_and_clip(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float gain;
    isize clipped;
    if (!PyArg_ParseTuple(args, "w*f", &x, &gain))
        return NULL;
    BEGIN
    clipped = scale_and_clip(x.buf, floats(&x), gain);
    END
    PyBuffer_Release(&x);
    return PyLong_FromSsize_t(clipped);
}

static PyObject *py_peak(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float most;
    if (!PyArg_ParseTuple(args, "y*", &x))
        return NULL;
    BEGIN
    most = peak(x.buf, floats(&x));
    END
    PyBuffer_Release(&x);
    return PyFloat_FromDouble(most);
}

static PyMethodDef METHODS[] = {
    {"first_order_sections", py_first_order_sections, METH_VARARGS, NULL},
    {"k_weighted_sums", py_k_weighted_sums, METH_VARARGS, NULL},
    {"reverb", py_reverb, METH_VARARGS, NULL},
    {"echo", py_echo, METH_VARARGS, NULL},
    {"drive", py_drive, METH_VARARGS, NULL},
    {"half_rate_trip", py_half_rate_trip, METH_VARARGS, NULL},
    {"frame_sums", py_frame_sums, METH_VARARGS, NULL},
    {"add_noise", py_add_noise, METH_VARARGS, NULL},
    {"noise_sum", py_noise_sum, METH_VARARGS, NULL},
    {"scale_and_clip", py_scale_and_clip, METH_VARARGS, NULL},
    {"peak", py_peak, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "The simulator's inner loops.",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&MODULE); }
