/* The Python module of the simulator's inner loops; the loops are in loops.h.
 *
 * The callers, the modules of the primitives, guarantee that arrays are contiguous and of the right
 * type.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__) && !defined(__clang__)
#error "needs the vector types of gcc and clang (on Windows: clang-cl); else portable.py is used"
#endif
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) /* clang, gcc from 12 on */
#define SHUFFLES
#endif
#endif
#define ALIGNED __attribute__((aligned(64)))

typedef Py_ssize_t isize;

static isize smaller(isize a, isize b) { return a < b ? a : b; }
static isize round_up(isize value, isize step) { return (value + step - 1) / step * step; }

/* Common to the versions for all vector widths, which give identical bits. */
#define LANES 16 /* parts of a clip that a recursion processes in parallel */
#define TILE 16  /* time steps of all lanes processed together; divides HOP */
#define MAX_SECTIONS 32
#define HOP 1600   /* 100 ms at 16 kHz */
#define BLOCK 400  /* less than the shortest comb's delay, and a multiple of every vector width */
#define BLOCKS 3   /* blocks written before the past is moved to the front */
#define PAST 16
#define RUN 32 /* filter outputs computed together, so that a tap is loaded once for all */
static const int COMB[8] = {404, 431, 463, 491, 515, 540, 564, 586}; /* Freeverb's at 16 kHz */
static const int ALLPASS[4] = {201, 160, 123, 81};

static isize trip_stride(isize n, isize taps) { return round_up((n + 1) / 2, RUN) + taps; }

struct loops {
    void (*first_order_sections)(float *x, isize n, const float *b, const float *a, int sections,
                                 float gain, isize warm_up);
    void (*k_weighted_sums)(const float *x, isize n, isize hops, const float *c, isize warm_up,
                            double *sums);
    void (*reverb)(float *x, isize n, float feedback, float d, float wet, float dry);
    void (*echo)(float *x, isize n, isize delay, float feedback, float mix, float *line);
    void (*drive)(float *x, isize n, float gain, const float *p, const float *q);
    void (*half_rate_trip)(float *x, isize n, const float *even, int even_count,
                           const float *odd, int odd_count, float *scratch);
    void (*frame_sums)(const float *x, isize n, isize frame, double *sums);
    void (*add_noise)(float *x, isize n, const int16_t *noise, isize length, isize offset,
                      float gain);
    double (*noise_sum)(isize n, const int16_t *noise, isize length, isize offset);
    isize (*scale_and_clip)(float *x, isize n, float gain);
    float (*peak)(const float *x, isize n);
};

/* Every processor has vectors of four floats: SSE2, NEON, or emulated by the compiler. */
#define WIDTH 4
#define TARGET
#define NAMED(name) name##_4
#include "loops.h"
#if defined(__x86_64__) || defined(_M_X64)
#define WIDE_TARGET __attribute__((target("avx2")))
#define WIDTH 8
#define TARGET WIDE_TARGET
#define NAMED(name) name##_8
#include "loops.h"
#endif

static const struct loops *loops = &loops_4;

/* Treat subnormal floats as zero in the meantime: silence after a recursion is full of them, and
 * processors take a hundred times as long for each. */
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

/* Let other threads run in the meantime. */
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
    if (b.len != a.len || floats(&b) > MAX_SECTIONS) {
        PyErr_SetString(PyExc_ValueError, "at most 32 sections, as many zeros as poles");
    } else {
        BEGIN
        loops->first_order_sections(x.buf, floats(&x), b.buf, a.buf, (int)floats(&b), gain, warm_up);
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
        PyErr_SetString(PyExc_ValueError, "6 coefficients are needed for each of two sections");
    } else {
        BEGIN
        loops->k_weighted_sums(x.buf, floats(&x), hops, coefficients.buf, warm_up, sums.buf);
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
    loops->reverb(x.buf, floats(&x), feedback, damp, wet, dry);
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
        PyErr_SetString(PyExc_ValueError, "the delay must be at least one sample, and fit into memory");
    } else {
        BEGIN
        loops->echo(x.buf, floats(&x), delay, feedback, mix, line);
        END
    }
    free(line);
    PyBuffer_Release(&x);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_drive(PyObject *self, PyObject *args)
{
    Py_buffer x, numerator, denominator;
    float gain;
    if (!PyArg_ParseTuple(args, "w*fy*y*", &x, &gain, &numerator, &denominator))
        return NULL;
    if (floats(&numerator) != 5 || floats(&denominator) != 4) {
        PyErr_SetString(PyExc_ValueError, "5 numerator and 4 denominator coefficients are needed");
    } else {
        BEGIN
        loops->drive(x.buf, floats(&x), gain, numerator.buf, denominator.buf);
        END
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&numerator);
    PyBuffer_Release(&denominator);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *py_half_rate_trip(PyObject *self, PyObject *args)
{
    Py_buffer x, even, odd;
    if (!PyArg_ParseTuple(args, "w*y*y*", &x, &even, &odd))
        return NULL;
    isize n = floats(&x), stride = trip_stride(n, floats(&even) + floats(&odd));
    float *scratch = malloc((size_t)(4 * stride) * sizeof(float));
    if (scratch == NULL) {
        PyErr_NoMemory();
    } else {
        BEGIN
        loops->half_rate_trip(x.buf, n, even.buf, (int)floats(&even), odd.buf, (int)floats(&odd), scratch);
        END
    }
    free(scratch);
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
        PyErr_SetString(PyExc_ValueError, "as many sums as frames, the last perhaps incomplete");
    } else {
        BEGIN
        loops->frame_sums(x.buf, floats(&x), frame, sums.buf);
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
        loops->add_noise(x.buf, floats(&x), noise.buf, length, offset, gain);
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
        sum = loops->noise_sum(n, noise.buf, length, offset);
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
    clipped = loops->scale_and_clip(x.buf, floats(&x), gain);
    END
    PyBuffer_Release(&x);
    return PyLong_FromSsize_t(clipped);
}

static PyObject *py_peak(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float magnitude;
    if (!PyArg_ParseTuple(args, "y*", &x))
        return NULL;
    BEGIN
    magnitude = loops->peak(x.buf, floats(&x));
    END
    PyBuffer_Release(&x);
    return PyFloat_FromDouble(magnitude);
}

/* Choose the version for a vector width; return whether this processor supports it. */
static int choose(long width)
{
#ifdef WIDE_TARGET
    if (width == 8 && __builtin_cpu_supports("avx2")) {
        loops = &loops_8;
        return 1;
    }
#endif
    if (width == 4)
        loops = &loops_4;
    return width == 4;
}

static PyObject *py_use_width(PyObject *self, PyObject *args)
{
    long width;
    if (!PyArg_ParseTuple(args, "l", &width))
        return NULL;
    return PyBool_FromLong(choose(width));
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
    {"use_width", py_use_width, METH_VARARGS, NULL},
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

PyMODINIT_FUNC PyInit__native(void)
{
#ifdef WIDE_TARGET
    __builtin_cpu_init();
#endif
    choose(8);
    return PyModuleDef_Init(&MODULE);
}
