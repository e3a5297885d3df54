#include <algorithm>
#include <string>

std::string reversed(std::string word)
{
    std::reverse(word.begin(), word.end());
    return word;
}
