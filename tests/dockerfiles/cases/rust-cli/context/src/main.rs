fn main() {
    let number: u64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    println!("{} as text", itoa::Buffer::new().format(number));
}
