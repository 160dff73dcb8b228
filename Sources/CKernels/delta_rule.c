// The gated delta rule of one head, forward and backward. Columns of a state depend on each other nowhere: a panel of
// them stays in the nearest cache for all tokens.
#ifndef NAME
#define BODY "delta_rule.c"
#include "each_instruction_set.inc"

size_t crux_delta_state_count(size_t keys, size_t values) {
    return (values + CRUX_PANEL - 1) / CRUX_PANEL * CRUX_PANEL * keys;
}

// A panel's state before each token, and the token's u and v - S'k in it.
size_t crux_delta_space_count(size_t n, size_t keys) { return n * (keys + 2) * CRUX_PANEL; }

void crux_delta_forward(const crux_delta_inputs *x, size_t n, float *state, float *out, size_t out_stride) {
    CHOOSE(delta_forward(x, n, state, out, out_stride))
}

void crux_delta_backward(const crux_delta_inputs *x, size_t n, const float *state, const float *dout, size_t dout_stride,
    float *dstate, const crux_delta_gradients *d, float *space) {
    CHOOSE(delta_backward(x, n, state, dout, dout_stride, dstate, d, space))
}

#else

#include "lanes.inc"

// One row of a panel.
typedef struct { crux_lanes low, high; } NAME(row);

static inline NAME(row) NAME(load_row)(const float *p) {
    return (NAME(row)){NAME(load)(p), NAME(load)(p + 16)};
}

static inline NAME(row) NAME(load_row_tail)(const float *p, size_t count) {
    if (count >= CRUX_PANEL) return NAME(load_row)(p);
    if (count > 16) return (NAME(row)){NAME(load)(p), NAME(load_tail)(p + 16, count - 16)};
    return (NAME(row)){NAME(load_tail)(p, count), (crux_lanes){0}};
}

static inline void NAME(store_row)(float *p, NAME(row) v, size_t count) {
    float both[CRUX_PANEL];
    memcpy(both, &v.low, sizeof v.low);
    memcpy(both + 16, &v.high, sizeof v.high);
    memcpy(p, both, count * sizeof(float));
}

static inline NAME(row) NAME(scaled)(float factor, NAME(row) v) {
    return (NAME(row)){factor * v.low, factor * v.high};
}

// S'a of a panel. Four sums side by side: one alone would wait for itself.
static inline NAME(row) NAME(mix)(const float *panel, const float *a, size_t keys) {
    crux_lanes low[4], high[4];
    for (int r = 0; r < 4; r++) low[r] = high[r] = (crux_lanes){0};
    size_t i = 0;
    for (; i + 4 <= keys; i += 4)
        for (int r = 0; r < 4; r++) {
            low[r] += a[i + r] * NAME(load)(panel + (i + r) * CRUX_PANEL);
            high[r] += a[i + r] * NAME(load)(panel + (i + r) * CRUX_PANEL + 16);
        }
    for (; i < keys; i++) {
        low[0] += a[i] * NAME(load)(panel + i * CRUX_PANEL);
        high[0] += a[i] * NAME(load)(panel + i * CRUX_PANEL + 16);
    }
    return (NAME(row)){(low[0] + low[1]) + (low[2] + low[3]), (high[0] + high[1]) + (high[2] + high[3])};
}

// One row of the state moved on: decay S + k u'.
static inline NAME(row) NAME(moved)(const float *panel, float decay, float key, NAME(row) u) {
    const NAME(row) s = NAME(load_row)(panel);
    return (NAME(row)){decay * s.low + key * u.low, decay * s.high + key * u.high};
}

static inline void NAME(put_row)(float *panel, NAME(row) v) {
    memcpy(panel, &v.low, sizeof v.low);
    memcpy(panel + 16, &v.high, sizeof v.high);
}

// S <- decay S + k u'; returns S'q.
static inline NAME(row) NAME(step)(
    float *panel, float decay, const float *k, NAME(row) u, const float *q, size_t keys) {
    crux_lanes low[4], high[4];
    for (int r = 0; r < 4; r++) low[r] = high[r] = (crux_lanes){0};
    size_t i = 0;
    for (; i + 4 <= keys; i += 4)
        for (int r = 0; r < 4; r++) {
            float *place = panel + (i + r) * CRUX_PANEL;
            const NAME(row) s = NAME(moved)(place, decay, k[i + r], u);
            NAME(put_row)(place, s);
            low[r] += q[i + r] * s.low;
            high[r] += q[i + r] * s.high;
        }
    for (; i < keys; i++) {
        float *place = panel + i * CRUX_PANEL;
        const NAME(row) s = NAME(moved)(place, decay, k[i], u);
        NAME(put_row)(place, s);
        low[0] += q[i] * s.low;
        high[0] += q[i] * s.high;
    }
    return (NAME(row)){(low[0] + low[1]) + (low[2] + low[3]), (high[0] + high[1]) + (high[2] + high[3])};
}

// v - decay S'k
static inline NAME(row) NAME(missing)(
    const crux_delta_inputs *x, size_t t, size_t first, size_t width, const float *panel) {
    const float decay = x->decay[t * x->gate_stride];
    const NAME(row) v = NAME(load_row_tail)(x->v + t * x->stride + first, width);
    const NAME(row) read = NAME(mix)(panel, x->k + t * x->stride, x->keys);
    return (NAME(row)){v.low - decay * read.low, v.high - decay * read.high};
}

static void NAME(delta_forward)(const crux_delta_inputs *x, size_t n, float *state, float *out, size_t out_stride) {
    for (size_t first = 0; first < x->values; first += CRUX_PANEL, state += x->keys * CRUX_PANEL) {
        const size_t width = x->values - first < CRUX_PANEL ? x->values - first : CRUX_PANEL;
        for (size_t t = 0; t < n; t++) {
            const NAME(row) missing = NAME(missing)(x, t, first, width, state);
            const NAME(row) u = NAME(scaled)(x->strength[t * x->gate_stride], missing);
            const NAME(row) o = NAME(step)(state, x->decay[t * x->gate_stride], x->k + t * x->stride, u,
                x->q + t * x->stride, x->keys);
            if (out) NAME(store_row)(out + t * out_stride + first, o, width);
        }
    }
}

// The states before each token again, [n] panels, and u and v - S'k of each token, [n, CRUX_PANEL].
static void NAME(delta_again)(const crux_delta_inputs *x, size_t n, const float *state, size_t first, size_t width,
    float *before, float *us, float *missings) {
    const size_t panel = x->keys * CRUX_PANEL;
    memcpy(before, state, panel * sizeof(float));
    for (size_t t = 0; t < n; t++) {
        const float *now = before + t * panel, *k = x->k + t * x->stride;
        const NAME(row) missing = NAME(missing)(x, t, first, width, now);
        const NAME(row) u = NAME(scaled)(x->strength[t * x->gate_stride], missing);
        NAME(put_row)(missings + t * CRUX_PANEL, missing);
        NAME(put_row)(us + t * CRUX_PANEL, u);
        if (t + 1 == n) return;
        float *next = before + (t + 1) * panel;
        const float decay = x->decay[t * x->gate_stride];
        for (size_t i = 0; i < x->keys; i++)
            NAME(put_row)(next + i * CRUX_PANEL, NAME(moved)(now + i * CRUX_PANEL, decay, k[i], u));
    }
}

// One token of one panel. With D the gradient of S behind the token and S0 the state before it:
//     D += q dout';  dv = strength D'k;  r = -dv, the gradient of S'k;  E = D + k r', that of decay S0;
//     dq = S dout;  dk = D u + decay S0 r;  ddecay = <E, S0>;  D <- decay E.
static inline void NAME(token_back)(const crux_delta_inputs *x, size_t t, size_t first, size_t width,
    const float *before, NAME(row) u, NAME(row) missing, const float *dout, float *dstate,
    const crux_delta_gradients *d) {
    const float *q = x->q + t * x->stride, *k = x->k + t * x->stride;
    const float decay = x->decay[t * x->gate_stride], strength = x->strength[t * x->gate_stride];
    const NAME(row) o = NAME(load_row_tail)(dout, width), carried = NAME(mix)(dstate, k, x->keys);
    const float along = crux_dot(q, k, x->keys), read = NAME(total)(u.low * o.low + u.high * o.high);
    const NAME(row) du = {carried.low + along * o.low, carried.high + along * o.high};
    const NAME(row) dv = NAME(scaled)(strength, du);
    float *dq = d->q + t * x->stride, *dk = d->k + t * x->stride;
    crux_lanes ddecay = {0};
    for (size_t i = 0; i < x->keys; i++) {
        const NAME(row) s = NAME(load_row)(before + i * CRUX_PANEL), g = NAME(load_row)(dstate + i * CRUX_PANEL);
        const NAME(row) g1 = {g.low + q[i] * o.low, g.high + q[i] * o.high};
        const NAME(row) e = {g1.low - k[i] * dv.low, g1.high - k[i] * dv.high};
        dq[i] += decay * NAME(total)(s.low * o.low + s.high * o.high) + k[i] * read;
        dk[i] += NAME(total)((g1.low * u.low + g1.high * u.high) - decay * (s.low * dv.low + s.high * dv.high));
        ddecay += e.low * s.low + e.high * s.high;
        NAME(put_row)(dstate + i * CRUX_PANEL, NAME(scaled)(decay, e));
    }
    NAME(store_row)(d->v + t * x->stride + first, dv, width);
    d->decay[t * x->gate_stride] += NAME(total)(ddecay);
    d->strength[t * x->gate_stride] += NAME(total)(du.low * missing.low + du.high * missing.high);
}

static void NAME(delta_backward)(const crux_delta_inputs *x, size_t n, const float *state, const float *dout,
    size_t dout_stride, float *dstate, const crux_delta_gradients *d, float *space) {
    const size_t panel = x->keys * CRUX_PANEL;
    float *us = space + n * panel, *missings = us + n * CRUX_PANEL;
    for (size_t t = 0; t < n; t++) d->decay[t * x->gate_stride] = d->strength[t * x->gate_stride] = 0;
    for (size_t first = 0; first < x->values; first += CRUX_PANEL, state += panel, dstate += panel) {
        const size_t width = x->values - first < CRUX_PANEL ? x->values - first : CRUX_PANEL;
        NAME(delta_again)(x, n, state, first, width, space, us, missings);
        for (size_t t = n; t-- > 0;)
            NAME(token_back)(x, t, first, width, space + t * panel, NAME(load_row)(us + t * CRUX_PANEL),
                NAME(load_row)(missings + t * CRUX_PANEL), dout + t * dout_stride + first, dstate, d);
    }
}

#endif
