#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace shapes {

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
    Shape &operator+=(int) { return *this; }
};

template <typename T, int N> struct Grid : Shape {
    std::vector<T> cells = std::vector<T>(N * N);
    double area() const override { return std::accumulate(cells.begin(), cells.end(), 0.0); }
    template <typename F> void fill(F make)
    {
        for (auto &cell : cells)
            cell = make();
    }
    operator bool() const { return !cells.empty(); }
};

namespace {
std::string describe(const Shape &shape, std::string name = "shape")
{
    return name + " of " + std::to_string(shape.area());
}
} // namespace

std::map<std::string, std::unique_ptr<Shape>> make_all(int seed)
{
    std::map<std::string, std::unique_ptr<Shape>> all;
    auto small = std::make_unique<Grid<int, 4>>();
    small->fill([&seed] { return seed++; });
    auto large = std::make_unique<Grid<double, 16>>();
    large->fill([seed] { return seed * 0.5; });
    all.emplace("small", std::move(small));
    all["large"] = std::move(large);
    return all;
}

} // namespace shapes

int main(int argc, char **)
{
    auto all = shapes::make_all(argc);
    std::vector<std::function<void()>> calls;
    for (auto &[name, shape] : all)
        calls.push_back([&name = name, &shape = shape] {
            std::cout << shapes::describe(*shape, name) << '\n';
        });
    std::sort(calls.begin(), calls.end(), [](auto &a, auto &b) { return &a < &b; });
    for (auto &call : calls)
        call();
    try {
        throw std::runtime_error("done");
    } catch (const std::exception &error) {
        std::cout << error.what() << '\n';
    }
}
