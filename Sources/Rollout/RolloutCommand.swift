import StageSupport
@main
enum RolloutMain { static func main() {} }
