/* Loops without recursion from sample to sample: delays, sums, gains; see loops.h. */

/* ---- Freeverb in mono, with delays for 16 kHz ---- */

/* A comb feeds back through a one-pole low-pass with pole d <= 0.4. Its response d^k (1-d) falls
 * below the resolution of float32 after 16 terms, which are (1 + d z^-1 + d^2 z^-2 + d^3 z^-3)
 * (1 + d^4 z^-4 + d^8 z^-8 + d^12 z^-12): two short sums instead of a recursion. */
KERNEL void NAMED(reverb)(float *x, isize n, float feedback, float d, float wet, float dry)
{
    static _Thread_local ALIGNED float comb[8][PAST + 592 + BLOCKS * BLOCK];
    static _Thread_local ALIGNED float allpass[4][208 + BLOCK];
    ALIGNED float in[BLOCK], sum[BLOCK], low_past[PAST + BLOCK];
    float *restrict low = low_past + PAST;
    float d2 = d * d, d3 = d2 * d, d4 = d2 * d2, d8 = d4 * d4, d12 = d8 * d4;
    float loop = feedback * (1.0f - d) / (1.0f - d8 * d8);
    int position = 0;

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
            const float *restrict out = comb[c] + PAST + position;
            float *restrict next = comb[c] + PAST + position + COMB[c];
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
        position += BLOCK;
        if (position == BLOCKS * BLOCK) {
            for (int c = 0; c < 8; c++)
                memmove(comb[c], comb[c] + position, (size_t)(PAST + COMB[c]) * sizeof(float));
            position = 0;
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

KERNEL void NAMED(echo)(float *x, isize n, isize delay, float feedback, float mix, float *line)
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

/* ---- tanh(gain x) by a rational fit (relative error below -125 dB) ---- */

KERNEL void NAMED(drive)(float *x, isize n, float gain, const float *p, const float *q)
{
    for (isize i = 0; i < n; i++) {
        float v = gain * x[i];
        v = v > 8.5f ? 8.5f : v;
        v = v < -8.5f ? -8.5f : v;
        float z = v * v;
        float numerator = (((p[4] * z + p[3]) * z + p[2]) * z + p[1]) * z + p[0];
        float denominator = ((q[3] * z + q[2]) * z + q[1]) * z + q[0];
        float y = v * numerator / denominator;
        y = y > 1.0f ? 1.0f : y;
        x[i] = y < -1.0f ? -1.0f : y;
    }
}

/* ---- To half the rate and back with one symmetric low-pass of 2 * reach + 1 taps ---- */

INLINE vector_t NAMED(load)(const float *from)
{
    vector_t vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

/* y[i] = sum over k of taps[k] x[i + k] for i in 0..n-1, for symmetric taps. x and y have space for
 * n rounded up to whole runs. */
INLINE void NAMED(correlate)(const float *x, float *y, isize n, const float *taps, int count)
{
    for (isize i = 0; i < n; i += RUN) {
        vector_t sum[RUN / WIDTH] = {{0}};
        for (int k = 0; k < count / 2; k++)
            for (int j = 0; j < RUN / WIDTH; j++)
                sum[j] += taps[k] * (NAMED(load)(x + i + j * WIDTH + k)
                                     + NAMED(load)(x + i + j * WIDTH + count - 1 - k));
        if (count % 2)
            for (int j = 0; j < RUN / WIDTH; j++)
                sum[j] += taps[count / 2] * NAMED(load)(x + i + j * WIDTH + count / 2);
        memcpy(y + i, sum, sizeof sum);
    }
}

/* `even` and `odd` are the taps at even and odd distances from the centre, in order; `scratch` has
 * 4 strides. Low-rate sample m is at sample 2 m. */
KERNEL void NAMED(half_rate_trip)(float *x, isize n, const float *even, int even_count,
                                  const float *odd, int odd_count, float *scratch)
{
    isize half = (n + 1) / 2, stride = trip_stride(n, even_count + odd_count);
    int even_reach = even_count / 2, odd_reach = odd_count / 2;
    float *low = scratch, *upper = scratch + stride, *part = scratch + 2 * stride, *sum = scratch + 3 * stride;

    memset(scratch, 0, (size_t)(2 * stride) * sizeof(float));
    for (isize m = 0; m < half; m++)
        low[even_reach + m] = x[2 * m];
    for (isize m = 0; m < n / 2; m++)
        upper[odd_reach + m] = x[2 * m + 1];
    NAMED(correlate)(low, sum, half, even, even_count);
    NAMED(correlate)(upper, part, half, odd, odd_count);
    memset(low, 0, (size_t)stride * sizeof(float));
    for (isize m = 0; m < half; m++)
        low[even_reach + m] = 2.0f * (sum[m] + part[m]);
    NAMED(correlate)(low, sum, half, even, even_count);
    NAMED(correlate)(low + even_reach - odd_reach + 1, part, half, odd, odd_count);
    for (isize m = 0; m < n / 2; m++) {
        x[2 * m] = sum[m];
        x[2 * m + 1] = part[m];
    }
    if (n % 2)
        x[n - 1] = sum[half - 1];
}

/* ---- Sums, noise, output ---- */

/* sums[f] = sum of squares of frame f; the last frame may be shorter. */
KERNEL void NAMED(frame_sums)(const float *x, isize n, isize frame, double *sums)
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

/* x += gain * noise, where the noise starts at `offset` and repeats. */
KERNEL void NAMED(add_noise)(float *x, isize n, const int16_t *noise, isize length, isize offset,
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
KERNEL double NAMED(noise_sum)(isize n, const int16_t *noise, isize length, isize offset)
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

/* x = clip(gain x, -1, 1); returns the number of clipped samples. */
KERNEL isize NAMED(scale_and_clip)(float *x, isize n, float gain)
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

/* The largest |x|, compared as integers, whose order is that of positive floats. */
KERNEL float NAMED(peak)(const float *x, isize n)
{
    int32_t largest = 0;
    float magnitude;
    for (isize i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    memcpy(&magnitude, &largest, sizeof magnitude);
    return magnitude;
}
