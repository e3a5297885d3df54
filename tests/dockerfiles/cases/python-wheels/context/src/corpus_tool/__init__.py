from importlib.metadata import version


def main():
    print("tool", version("corpus-tool"), "with attrs", version("attrs"))
