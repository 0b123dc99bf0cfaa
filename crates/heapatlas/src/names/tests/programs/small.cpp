// No library: small enough to be damaged at each byte.
namespace outer {
struct Pair {
    int one, other;
    int sum() const { return one + other; }
};
static inline int twice(Pair pair) { return pair.sum() * pair.sum(); }
int four_times(int number) { return twice({number, 1}) + twice({number, 2}); }
} // namespace outer
extern "C" int start(int number)
{
    auto add = [number](int other) { return outer::four_times(number) + other; };
    return add(1) * add(2);
}
