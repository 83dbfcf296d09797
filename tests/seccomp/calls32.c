/* A 32-bit payload without a C library: makes system calls by number and prints "number result" lines.
   gcc -m32 -nostdlib -static -ffreestanding needs no 32-bit headers or libraries. */
static int call(int number, int one)
{
    int result;
    /* A bad address for every pointer: a call that the filter lets through fails with something harmless. */
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(one), "c"(0), "d"(0), "S"(0), "D"(0) : "memory");
    return result;
}

static void put(const char *text, int length)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(4), "b"(1), "c"(text), "d"(length) : "memory");
}

static void number(int value, char last)
{
    char text[16];
    int at = 16;
    unsigned rest = value < 0 ? -(unsigned)value : (unsigned)value;
    text[--at] = last;
    do {
        text[--at] = '0' + rest % 10;
        rest /= 10;
    } while (rest);
    if (value < 0)
        text[--at] = '-';
    put(text + at, 16 - at);
}

void _start(void)
{
    /* getppid; unshare(CLONE_NEWUSER); reboot; keyctl; ptrace; a number of no call yet; clone3 */
    static const int calls[][2] = {{64, 0}, {310, 0x10000000}, {88, 0}, {288, 0}, {26, 0}, {600, 0}, {435, 0}};
    for (int i = 0; i < 7; i++) {
        number(calls[i][0], ' ');
        number(call(calls[i][0], calls[i][1]), '\n');
    }
    call(252, 0);
}
