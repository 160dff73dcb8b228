/// l = -A · lp + β/2 (lp - lp_old)²: no ratio, a square in place of a clip (DRO; Kimi's k1.5).
package struct DRO: TokenObjective {
    package static let name = "dro"
    package static let source = "verl core_algos dro (whose beta must be given); Kimi k1.5, arXiv 2501.12599; ROLL"

    package var beta = 0.1

    package init() {}

    package var problems: [String] { beta > 0 ? [] : ["beta is \(beta); expected more than 0"] }

    package func term(_ token: SampledToken) -> TokenTerm {
        let square = beta / 2 * token.logRatio * token.logRatio
        return TokenTerm(
            loss: -token.advantage * token.logprob + square, derivative: -token.advantage + beta * token.logRatio)
    }
}
