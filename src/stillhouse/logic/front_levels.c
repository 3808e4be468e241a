/* Bits of an image: its bytes against the cut of each level. */
static void read_bits(const uint8_t *pixels, uint8_t *bits)
{
    int f;
    for (f = 0; f < @BITS@; f++) bits[f] = pixels[f % @PIXELS@] >= cuts[f / @PIXELS@];
}
