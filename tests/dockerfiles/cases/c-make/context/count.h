long count(const char *path);
