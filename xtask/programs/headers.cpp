// What a compiler meets every day: large headers, and some templates that are used.

#include <functional>
#include <map>
#include <ranges>
#include <regex>
#include <string>
#include <vector>

// A quick run compiles the headers alone.
#ifndef QUICK

std::map<std::string, std::vector<std::string>> words_by_kind(const std::string &text) {
    static const std::regex word("([a-z]+)|([0-9]+)");
    std::map<std::string, std::vector<std::string>> words;
    for (std::sregex_iterator match(text.begin(), text.end(), word), end; match != end; ++match)
        words[(*match)[1].matched ? "word" : "number"].push_back(match->str());
    return words;
}

int sum_of_even_squares(const std::vector<int> &numbers, const std::function<int(int)> &change) {
    int sum = 0;
    for (int number : numbers | std::views::filter([](int n) { return n % 2 == 0; }) | std::views::transform(change))
        sum += number * number;
    return sum;
}

#endif
