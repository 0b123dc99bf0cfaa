// Members, templates, lambdas, an anonymous namespace, and code apart for what seldom happens.
#include <algorithm>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace shapes {

template <typename T, int N> struct Grid {
    std::vector<T> cells = std::vector<T>(N * N);
    template <typename F> void fill(F make)
    {
        for (auto &cell : cells)
            cell = make();
    }
    double area() const
    {
        double sum = 0;
        for (auto cell : cells)
            sum += cell;
        return sum;
    }
};

namespace {
std::string describe(double area, const std::string &name)
{
    if (area < 0)
        throw std::runtime_error("less than nothing: " + name);
    return name + " of " + std::to_string(area);
}
} // namespace

struct Local {
    static inline int twice(int number) { return number * 2 + 1; }
};

} // namespace shapes

static int once(int number) { return shapes::Local::twice(number) ^ 5; }

int main(int argc, char **)
{
    shapes::Grid<int, 4> small;
    small.fill([&argc] { return once(argc++); });
    std::map<std::string, double> areas{{"small", small.area()}};
    shapes::Grid<double, 16> large;
    large.fill([argc] { return argc * 0.5; });
    areas["large"] = large.area();
    for (auto &[name, area] : areas)
        std::cout << shapes::describe(area, name) << '\n';
}
