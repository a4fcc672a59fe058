/* Steps of optimizers: one pass over a parameter, its gradient and their moments.
 *
 * Why the rules are read into locals: the compiler cannot know that a store to a float leaves the doubles of `update`
 * as they are. Why a loop for each way: a choice inside costs the vectors where it decides about a store. */
#include <math.h>

#include "kernels/portable/portable.h"

/* Rules in float, as the arithmetic has them. */
typedef struct rule {
    float gradient_scale, limit, decay, shrink, rate;
    float momentum, memory, first_share, second_share, root, epsilon;
} rule;

static inline rule rule_of(const ql_update *u)
{
    return (rule){
        .gradient_scale = (float)u->gradient_scale,
        .limit = (float)u->limit,
        .decay = (float)u->decay,
        .shrink = (float)u->shrink,
        .rate = (float)u->rate,
        .momentum = (float)u->momentum,
        .memory = (float)u->memory,
        .first_share = (float)(1 - u->momentum),
        .second_share = (float)(1 - u->memory),
        .root = (float)u->root,
        .epsilon = (float)u->epsilon,
    };
}

/* NaN stays NaN. */
static inline float prepared(const rule *r, float gradient, float parameter)
{
    float g = r->gradient_scale * gradient;
    g = g > r->limit ? r->limit : g;
    g = g < -r->limit ? -r->limit : g;
    return g + r->decay * parameter;
}

static inline float moved(const rule *r, float parameter, float direction)
{
    return r->shrink * parameter - r->rate * direction;
}

void QL_KERNEL(ql_sgd_f32)(const ql_update *update, float *restrict parameter, const float *restrict gradient,
                           float *restrict first, float *restrict second, size_t n)
{
    (void)second;
    const rule r = rule_of(update);
    if (!first) {
        for (size_t i = 0; i < n; i++)
            parameter[i] = moved(&r, parameter[i], prepared(&r, gradient[i], parameter[i]));
    } else if (update->nesterov) {
        for (size_t i = 0; i < n; i++) {
            const float g = prepared(&r, gradient[i], parameter[i]);
            first[i] = r.momentum * first[i] + g;
            parameter[i] = moved(&r, parameter[i], g + r.momentum * first[i]);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            first[i] = r.momentum * first[i] + prepared(&r, gradient[i], parameter[i]);
            parameter[i] = moved(&r, parameter[i], first[i]);
        }
    }
}

void QL_KERNEL(ql_adam_f32)(const ql_update *update, float *restrict parameter, const float *restrict gradient,
                            float *restrict first, float *restrict second, size_t n)
{
    const rule r = rule_of(update);
    for (size_t i = 0; i < n; i++) {
        const float g = prepared(&r, gradient[i], parameter[i]);
        first[i] = first[i] + r.first_share * (g - first[i]);
        second[i] = r.memory * second[i] + r.second_share * (g * g);
        parameter[i] = moved(&r, parameter[i], first[i] / (sqrtf(second[i]) * r.root + r.epsilon));
    }
}

void QL_KERNEL(ql_rmsprop_f32)(const ql_update *update, float *restrict parameter, const float *restrict gradient,
                               float *restrict first, float *restrict second, size_t n)
{
    const rule r = rule_of(update);
    if (!first) {
        for (size_t i = 0; i < n; i++) {
            const float g = prepared(&r, gradient[i], parameter[i]);
            second[i] = r.memory * second[i] + r.second_share * (g * g);
            parameter[i] = moved(&r, parameter[i], g / (sqrtf(second[i]) + r.epsilon));
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            const float g = prepared(&r, gradient[i], parameter[i]);
            second[i] = r.memory * second[i] + r.second_share * (g * g);
            first[i] = r.momentum * first[i] + g / (sqrtf(second[i]) + r.epsilon);
            parameter[i] = moved(&r, parameter[i], first[i]);
        }
    }
}
