/// verl's `flexible` method: the last number of any kind.
package struct GSM8KFlexible: RewardFunction {
    package static let name = "gsm8k_flexible"
    package static let source = "verl gsm8k, flexible"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome { GSM8K(flexible: true).judge(input) }
}
