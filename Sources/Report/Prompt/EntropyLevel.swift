/// How uncertain a token was, in eight steps: what a terminal can tell apart.
enum EntropyLevel {
    /// Nats: where each level above the lowest begins. Between the middle ones lies 0.672, the threshold of the paper
    /// that keeps a fifth of all tokens (arXiv 2506.01939).
    static let edges: [Float] = [0.01, 0.05, 0.15, 0.4, 0.8, 1.3, 2]

    static func level(of entropy: Float) -> Int { edges.count { entropy >= $0 } }

    /// A bar as high as the level, for a text without colours; nothing for the lowest.
    static func bar(_ level: Int) -> String { level == 0 ? "" : bars[level - 1] }

    private static let bars = ["▁", "▂", "▃", "▄", "▅", "▆", "█"]
}
