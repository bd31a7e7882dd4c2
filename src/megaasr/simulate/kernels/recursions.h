/* Recursive filters, which process LANES parts of the clip in parallel; see loops.h. */

/* ---- Lanes: LANES parts of `length` samples each, in tiles of TILE time steps ---- */

#define GROUPS (LANES / WIDTH) /* vectors that hold one value of each lane */
typedef vector_t NAMED(tile)[TILE][GROUPS];
#define tile_t NAMED(tile)

/* Transpose a square of vectors. */
INLINE void NAMED(transpose)(vector_t rows[WIDTH])
{
    vector_t next[WIDTH];
#if defined(SHUFFLES) && WIDTH == 8
    /* Pairs, then fours within each half of a vector, then the halves. */
    for (int i = 0; i < 8; i += 2) {
        next[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        next[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int half = 0; half < 8; half += 4)
        for (int i = 0; i < 2; i++) {
            vector_t above = next[half + i], below = next[half + i + 2];
            rows[half + 2 * i] = __builtin_shufflevector(above, below, 0, 1, 8, 9, 4, 5, 12, 13);
            rows[half + 2 * i + 1] = __builtin_shufflevector(above, below,
                                                             2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        vector_t above = rows[i], below = rows[i + 4];
        next[i] = __builtin_shufflevector(above, below, 0, 1, 2, 3, 8, 9, 10, 11);
        next[i + 4] = __builtin_shufflevector(above, below, 4, 5, 6, 7, 12, 13, 14, 15);
    }
#elif defined(SHUFFLES)
    vector_t pairs[4];
    for (int i = 0; i < 4; i += 2) {
        pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 4, 1, 5);
        pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 6, 3, 7);
    }
    for (int i = 0; i < 2; i++) {
        next[2 * i] = __builtin_shufflevector(pairs[i], pairs[i + 2], 0, 1, 4, 5);
        next[2 * i + 1] = __builtin_shufflevector(pairs[i], pairs[i + 2], 2, 3, 6, 7);
    }
#else
    for (int row = 0; row < WIDTH; row++)
        for (int column = 0; column < WIDTH; column++)
            next[column][row] = rows[row][column];
#endif
    memcpy(rows, next, sizeof next);
}

/* tile[time][lane] = x[first + lane * length + time]; zero outside the clip. */
INLINE void NAMED(load_tile)(const float *x, isize n, isize first, isize length, tile_t tile)
{
    for (int group = 0; group < GROUPS; group++)
        for (int from = 0; from < TILE; from += WIDTH) {
            vector_t rows[WIDTH];
            for (int row = 0; row < WIDTH; row++) {
                isize position = first + (group * WIDTH + row) * length + from;
                float edge[WIDTH];
                const float *source = x + position;
                if (position < 0 || position + WIDTH > n) {
                    for (int time = 0; time < WIDTH; time++)
                        edge[time] = position + time >= 0 && position + time < n ? x[position + time] : 0.0f;
                    source = edge;
                }
                memcpy(&rows[row], source, sizeof(vector_t));
            }
            NAMED(transpose)(rows);
            for (int time = 0; time < WIDTH; time++)
                tile[from + time][group] = rows[time];
        }
}

INLINE void NAMED(store_tile)(float *x, isize n, isize first, isize length, tile_t tile)
{
    for (int group = 0; group < GROUPS; group++)
        for (int from = 0; from < TILE; from += WIDTH) {
            vector_t rows[WIDTH];
            for (int time = 0; time < WIDTH; time++)
                rows[time] = tile[from + time][group];
            NAMED(transpose)(rows);
            for (int row = 0; row < WIDTH; row++) {
                isize position = first + (group * WIDTH + row) * length + from;
                isize count = smaller(WIDTH, n - position);
                if (count == WIDTH)
                    memcpy(x + position, &rows[row], sizeof(vector_t));
                else if (count > 0)
                    memcpy(x + position, &rows[row], (size_t)count * sizeof(float));
            }
        }
}

/* ---- Cascade of first-order sections: y[t] = x[t] + b x[t-1] - a y[t-1], then one gain ---- */

struct NAMED(section) {
    vector_t x[GROUPS], y[GROUPS]; /* input and output of the previous step */
};
#define section_t struct NAMED(section)

/* One time step of one section in all lanes. */
#define STEP(now, zero, pole, last)                                                              \
    for (int group = 0; group < GROUPS; group++) {                                               \
        vector_t in = now[group];                                                                \
        last.y[group] = (in + zero * last.x[group]) - pole * last.y[group];                      \
        last.x[group] = in;                                                                      \
        now[group] = last.y[group];                                                              \
    }

KERNEL void NAMED(first_order_sections)(float *x, isize n, const float *b, const float *a,
                                        int sections, float gain, isize warm_up)
{
    section_t states[MAX_SECTIONS];
    tile_t tile;
    isize length = round_up((n + LANES - 1) / LANES, TILE);

    memset(states, 0, sizeof states);
    /* All lanes read their warm-up before any of them writes, so working in place is safe. */
    for (isize first = -round_up(warm_up, TILE); first < length; first += TILE) {
        int section = 0;
        NAMED(load_tile)(x, n, first, length, tile);
        /* Two sections at a time: one computes while the other waits for its previous result. */
        for (; section + 1 < sections; section += 2) {
            float zero = b[section], pole = a[section];
            float next_zero = b[section + 1], next_pole = a[section + 1];
            section_t first_state = states[section], second_state = states[section + 1];
            for (int time = 0; time < TILE; time++) {
                vector_t *now = tile[time];
                STEP(now, zero, pole, first_state)
                STEP(now, next_zero, next_pole, second_state)
            }
            states[section] = first_state;
            states[section + 1] = second_state;
        }
        if (section < sections) {
            float zero = b[section], pole = a[section];
            section_t state = states[section];
            for (int time = 0; time < TILE; time++) {
                vector_t *now = tile[time];
                STEP(now, zero, pole, state)
            }
            states[section] = state;
        }
        if (first >= 0) {
            for (int time = 0; time < TILE; time++)
                for (int group = 0; group < GROUPS; group++)
                    tile[time][group] *= gain;
            NAMED(store_tile)(x, n, first, length, tile);
        }
    }
}

/* ---- BS.1770 K-weighting at 16 kHz, with sums of squares over 100 ms ---- */

/* Two second-order sections as state-variable filters (float32 is precise enough for a low cutoff):
 * per section v1 = a1 s1 + a2 (x - s2), v2 = s2 + a2 s1 + a3 (x - s2), y = m0 x + m1 v1 + m2 v2. */
KERNEL void NAMED(k_weighted_sums)(const float *x, isize n, isize hops, const float *c,
                                   isize warm_up, double *sums)
{
    tile_t tile;
    double sum[LANES] = {0};
    isize hops_a_lane = (hops + LANES - 1) / LANES, length = hops_a_lane * HOP;

    /* With v1 and v2 substituted, the dependency chains from state to state are short. */
    float matrix[2][9];
    for (int section = 0; section < 2; section++) {
        const float *k = c + 6 * section;
        double a1 = k[0], a2 = k[1], a3 = k[2], m0 = k[3], m1 = k[4], m2 = k[5];
        double transition[9] = {2 * a1 - 1, -2 * a2, 2 * a2, 1 - 2 * a3, 2 * a2, 2 * a3,
                                m0 + m1 * a2 + m2 * a3, m1 * a1 + m2 * a2, m2 - m1 * a2 - m2 * a3};
        for (int i = 0; i < 9; i++)
            matrix[section][i] = (float)transition[i];
    }
    vector_t state[2][2][GROUPS];
    memset(state, 0, sizeof state);
    for (isize first = -round_up(warm_up, TILE); first < length; first += TILE) {
        ALIGNED float energy[LANES];
        NAMED(load_tile)(x, n, first, length, tile);
        for (int section = 0; section < 2; section++) {
            const float *k = matrix[section];
            vector_t s1[GROUPS], s2[GROUPS];
            memcpy(s1, state[section][0], sizeof s1);
            memcpy(s2, state[section][1], sizeof s2);
            for (int time = 0; time < TILE; time++)
                for (int group = 0; group < GROUPS; group++) {
                    vector_t in = tile[time][group], before = s1[group];
                    s1[group] = k[0] * before + (k[1] * s2[group] + k[2] * in);
                    tile[time][group] = k[6] * in + (k[7] * before + k[8] * s2[group]);
                    s2[group] = k[3] * s2[group] + (k[4] * before + k[5] * in);
                }
            memcpy(state[section][0], s1, sizeof s1);
            memcpy(state[section][1], s2, sizeof s2);
        }
        if (first < 0)
            continue;
        /* Beyond the end of the clip the filters still ring, which must not count. */
        for (int lane = 0; lane < LANES; lane++) {
            isize left = n - first - lane * length;
            for (isize time = left > 0 ? left : 0; time < TILE; time++)
                tile[time][lane / WIDTH][lane % WIDTH] = 0;
        }
        for (int group = 0; group < GROUPS; group++) {
            vector_t total = {0};
            for (int time = 0; time < TILE; time++)
                total += tile[time][group] * tile[time][group];
            memcpy(energy + group * WIDTH, &total, sizeof total);
        }
        for (int lane = 0; lane < LANES; lane++)
            sum[lane] += (double)energy[lane];
        if ((first + TILE) % HOP == 0) {
            isize hop = first / HOP;
            for (int lane = 0; lane < LANES; lane++) {
                if (lane * hops_a_lane + hop < hops)
                    sums[lane * hops_a_lane + hop] = sum[lane];
                sum[lane] = 0;
            }
        }
    }
}

#undef GROUPS
#undef tile_t
#undef section_t
#undef STEP
