pub fn greeting() -> &'static str {
    "workspace says hello"
}
