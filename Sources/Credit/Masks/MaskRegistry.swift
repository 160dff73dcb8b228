package enum MaskRegistry {
    package static let all: [any MaskRule.Type] = [BottomEntropy.self, RandomTokens.self, TopEntropy.self]
}
