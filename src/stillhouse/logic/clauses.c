/* @NAME@: @SIZE@, emitted by stillhouse.
   Classes: @NAMES@.
   Scores divided by @SCALE@ are the network's. Pixels are bytes, channel by channel and row by row.
   A clause is worth what its misses leave of its capacity; of one image, misses are counted until it is used up. */
#include <stdint.h>

#define @NAME@_PIXELS @PIXELS@
#define @NAME@_BITS @BITS@
#define @NAME@_CLASSES @CLASSES@
#define LAYERS @LAYERS@
#define WIDEST @WIDEST@

int @NAME@_predict(const uint8_t *pixels);
void @NAME@_scores(const uint8_t *pixels, int32_t *scores);

typedef struct {
    int bits, clauses, outputs;
    const uint32_t *starts;
    const @LITERAL@ *literals;
    const int32_t *capacity, *votes, *bias;
} layer;

typedef struct {
    int shift;
    int64_t epsilon;
    const int32_t *path;
    const int64_t *gain, *offset;
} join;

@TABLES@

@FRONT@
/* Scores of one layer, whose bits are here: 0 or 1. */
static void vote(const layer *own, const uint8_t *bits, int32_t *scores)
{
    int j, k;
    for (k = 0; k < own->outputs; k++) scores[k] = own->bias[k];
    for (j = 0; j < own->clauses; j++) {
        int32_t left = own->capacity[j];
        uint32_t i;
        for (i = own->starts[j]; left > 0 && i < own->starts[j + 1]; i++) {
            int f = own->literals[i];
            left -= f < own->bits ? !bits[f] : bits[f - own->bits];
        }
        if (left > 0)
            for (k = 0; k < own->outputs; k++) scores[k] += left * own->votes[(long)j * own->outputs + k];
    }
}

/* floor(sqrt(q)) */
static int64_t root(int64_t q)
{
    int64_t r = 0, bit = (int64_t)1 << 30;
    for (; bit; bit >>= 1)
        if ((r + bit) * (r + bit) <= q) r += bit;
    return r;
}

/* A linear path, LayerNorm and a sign, in whole numbers: the next bits, and the next numbers in the place of those before. */
static void between(const layer *own, const join *to, const int32_t *scores, int64_t *numbers, uint8_t *bits)
{
    int64_t after[WIDEST], squares = to->epsilon, r;
    int i, k;
    for (k = 0; k < own->outputs; k++) {
        int64_t sum = 0;
        for (i = 0; i < own->bits; i++) sum += to->path[(long)k * own->bits + i] * numbers[i];
        after[k] = scores[k] + (sum < 0 ? ~(~sum >> to->shift) : sum >> to->shift);
        squares += after[k] * after[k];
    }
    r = root(squares);
    for (k = 0; k < own->outputs; k++) {
        int64_t y = to->gain[k] * after[k] + to->offset[k] * r;
        bits[k] = y > 0;
        numbers[k] = y / r - (y % r < 0);
    }
}

void @NAME@_scores(const uint8_t *pixels, int32_t *scores)
{
    uint8_t bits[WIDEST];
    int32_t own[WIDEST];
    int64_t numbers[WIDEST];
    int f, n;
    read_bits(pixels, bits);
    for (f = 0; f < @NAME@_BITS; f++) numbers[f] = bits[f] ? 1 : -1;
    for (n = 0; n < LAYERS - 1; n++) {
        vote(&layers[n], bits, own);
        between(&layers[n], &joins[n], own, numbers, bits);
    }
    vote(&layers[n], bits, scores);
}

int @NAME@_predict(const uint8_t *pixels)
{
    int32_t scores[@NAME@_CLASSES];
    int k, best = 0;
    @NAME@_scores(pixels, scores);
    for (k = 1; k < @NAME@_CLASSES; k++)
        if (scores[k] > scores[best]) best = k;
    return best;
}
