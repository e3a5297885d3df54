package com.example;

import org.apache.commons.lang3.StringUtils;

public final class App {
    public static void main(String[] words) {
        System.out.println("Joined: " + StringUtils.join(words, ", "));
    }
}
