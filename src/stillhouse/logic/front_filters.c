#define HEIGHT @HEIGHT@
#define WIDTH @WIDTH@
#define SQUARE @SQUARE@
#define COLUMNS ((WIDTH + SQUARE - 1) / SQUARE)
#define SQUARES (COLUMNS * ((HEIGHT + SQUARE - 1) / SQUARE))

/* One map of a channel: its bytes, or twice their responses to a filter; 0 beyond the border. */
static void read_map(const uint8_t *pixels, int number, int32_t *map)
{
    int y, x, i, j;
    for (y = 0; y < HEIGHT; y++)
        for (x = 0; x < WIDTH; x++, map++) {
            *map = number ? 0 : pixels[y * WIDTH + x];
            for (i = -3; number && i <= 3; i++)
                for (j = -3; j <= 3; j++)
                    if (y + i >= 0 && y + i < HEIGHT && x + j >= 0 && x + j < WIDTH)
                        *map += kernels[number * 49 + i * 7 + j - 25] * pixels[(y + i) * WIDTH + x + j];
        }
}

/* The value that so many hundredths of the positive entries of a map lie below: nearest rank, halves to even. Of the negative ones
   by their size where sign is -1. 0 for none; where there are no entries, what nothing is above. */
static int32_t edge(const int32_t *map, int sign, int32_t hundredths)
{
    int32_t low = 1, high = 195840, count = 0, rank; /* the largest response to any filter */
    int i;
    if (!hundredths) return 0;
    for (i = 0; i < HEIGHT * WIDTH; i++) count += sign * map[i] > 0;
    if (!count) return INT32_MAX;
    rank = hundredths * (count - 1);
    rank = (rank + 49 + rank / 100 % 2) / 100;
    while (low < high) {
        int32_t middle = (low + high) / 2, within = 0;
        for (i = 0; i < HEIGHT * WIDTH; i++) within += sign * map[i] > 0 && sign * map[i] <= middle;
        if (within > rank) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Bits of an image: what is asked of the maps of each channel, and whether it holds anywhere in a square. */
static void read_bits(const uint8_t *pixels, uint8_t *bits)
{
    int32_t map[HEIGHT * WIDTH], least;
    int channel, n, i, number, sign;
    for (channel = 0; channel < @CHANNELS@; channel++, pixels += HEIGHT * WIDTH)
        for (number = -1, n = 0; n < @ASKED@; n++, bits += SQUARES) {
            if (maps[n] != number) read_map(pixels, number = maps[n], map);
            sign = hundredths[n] < 0 ? -1 : 1;
            least = edge(map, sign, sign * hundredths[n]);
            for (i = 0; i < SQUARES; i++) bits[i] = 0;
            for (i = 0; i < HEIGHT * WIDTH; i++)
                if (sign * map[i] > least) bits[i / WIDTH / SQUARE * COLUMNS + i % WIDTH / SQUARE] = 1;
        }
}
