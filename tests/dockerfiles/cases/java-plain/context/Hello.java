public class Hello {
    public static void main(String[] words) {
        System.out.println("Hello from a jar, " + words[0]);
    }
}
