import Foundation

/// transformers' class for a critic that is made of a language model.
package struct CriticClass: Equatable, Sendable {
    /// nil: …ForTokenClassification of the model's own class.
    var name: String?
    var valueHead = ValueHeadShape(hasBias: true)

    init() {}

    /// Where transformers loads no …ForTokenClassification: its head has a weight alone.
    init(sequenceClassification name: String) { (self.name, valueHead) = (name, ValueHeadShape(hasBias: false)) }

    /// `model`: the class of the language model.
    func name(of model: String) -> String {
        name ?? model.replacingOccurrences(of: "ForCausalLM", with: "") + "ForTokenClassification"
    }
}
