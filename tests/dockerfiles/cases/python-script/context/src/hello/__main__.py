import os
import sys

print(f"Hello, {sys.argv[1]}! from {os.getuid()} in {os.getcwd()}")
