import Formats
import Objectives

extension RolloutRow {
    /// [L]: what an auxiliary loss multiplies the log-probabilities of tools' and users' tokens with; 0 of all others, and
    /// of all before the policy's first token. Its roles must be known.
    func environmentCoefficients(_ auxiliary: AuxiliaryLoss) -> [Double] {
        let roles = (tokenRoles ?? []).map { TokenRole(rawValue: $0) },
            first = roles.firstIndex(of: .policy) ?? roles.count
        return tokenIDs.indices.map { t in
            guard t > first, roles.indices.contains(t), !lossMask[t] else { return 0 }
            switch roles[t] {
            case .tool: return auxiliary.tool
            case .user: return auxiliary.user
            case .prompt, .policy, .system, .injected, nil: return 0
            }
        }
    }
}
