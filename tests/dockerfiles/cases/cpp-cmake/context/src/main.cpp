#include <iostream>
#include <string>

std::string reversed(std::string word);

int main(int argc, char **argv)
{
    std::cout << "reversed: " << reversed(argc > 1 ? argv[1] : "") << "\n";
}
