/// What is done to text before it is cut.
indirect enum Normalizer: Sendable {
    case none
    case form(NormalizationForm)
    case sequence([Normalizer])

    init(_ node: TokenizerNode) throws {
        if node.isNull {
            self = .none
            return
        }
        let name = try node.require(node["type"].string, "a normalizer with a type")
        if name == "Sequence" {
            let steps = try node.require(node["normalizers"].values, "a list of normalizers")
            self = .sequence(try steps.indices.map { try Normalizer(node["normalizers"].list[$0]) })
        } else if let form = NormalizationForm(rawValue: name) {
            self = .form(form)
        } else {
            let known = NormalizationForm.allCases.map(\.rawValue).joined(separator: ", ")
            throw node["type"].unsupported(expected: "no normalizer, \(known), or a Sequence of these")
        }
    }

    func apply(_ text: String) -> String {
        switch self {
        case .none: text
        case .form(let form): form.apply(text)
        case .sequence(let steps): steps.reduce(text) { $1.apply($0) }
        }
    }
}
